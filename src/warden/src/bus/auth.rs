//! The conversation before the first message: D-Bus Specification, "Authentication Protocol".
//!
//! Pure. Only EXTERNAL is offered: who the peer is, the kernel has said before the first byte came. libdbus and sd-bus
//! send their whole side at once and wait for the answers afterwards, or wait for each; both is served.

/// Longest line.
const LINE_MAX: usize = 512;
/// Lines before `BEGIN`.
const LINES_MAX: u32 = 16;

/// The server's side.
#[derive(Debug, Default)]
pub struct Server {
    nul_seen: bool,
    /// `AUTH EXTERNAL` came without a name, which is to follow.
    waits_for_data: bool,
    accepted: bool,
    lines: u32,
}

/// How far it has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// Messages follow.
    Begun,
    /// The peer talks something else, or too much.
    Hopeless,
}

impl Server {
    /// Takes lines from `input` and puts answers into `output`. `uid` is the peer's; `guid` names the server.
    pub fn advance(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>, uid: u32, guid: &str) -> Progress {
        if !self.nul_seen {
            match input.first() {
                None => return Progress::More,
                Some(0) => drop(input.remove(0)),
                Some(_) => return Progress::Hopeless,
            }
            self.nul_seen = true;
        }
        while let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") {
            self.lines += 1;
            if end > LINE_MAX || self.lines > LINES_MAX {
                return Progress::Hopeless;
            }
            let line: Vec<u8> = input.drain(..end + 2).take(end).collect();
            let Ok(line) = std::str::from_utf8(&line) else { return Progress::Hopeless };
            if line == "BEGIN" {
                return if self.accepted { Progress::Begun } else { Progress::Hopeless };
            }
            let answer = self.answer(line, uid, guid);
            output.extend_from_slice(answer.as_bytes());
            output.extend_from_slice(b"\r\n");
        }
        if input.len() > LINE_MAX { Progress::Hopeless } else { Progress::More }
    }

    fn answer(&mut self, line: &str, uid: u32, guid: &str) -> String {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("AUTH"), Some("EXTERNAL"), None) => {
                self.waits_for_data = true;
                "DATA".into()
            }
            (Some("AUTH"), Some("EXTERNAL"), Some(name)) => self.identify(name, uid, guid),
            (Some("DATA"), name, None) if self.waits_for_data => self.identify(name.unwrap_or(""), uid, guid),
            (Some("NEGOTIATE_UNIX_FD"), None, None) if self.accepted => "AGREE_UNIX_FD".into(),
            (Some("AUTH" | "CANCEL" | "ERROR"), ..) => {
                self.waits_for_data = false;
                "REJECTED EXTERNAL".into()
            }
            _ => "ERROR".into(),
        }
    }

    /// An empty name stands for the one that the kernel says.
    fn identify(&mut self, name: &str, uid: u32, guid: &str) -> String {
        self.waits_for_data = false;
        self.accepted = name.is_empty() || name == hex(uid.to_string().as_bytes());
        if self.accepted { format!("OK {guid}") } else { "REJECTED EXTERNAL".into() }
    }
}

/// What a client sends at once, with the user that it is.
pub fn client_hello(uid: u32) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(
        format!("AUTH EXTERNAL {}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n", hex(uid.to_string().as_bytes()))
            .as_bytes(),
    );
    bytes
}

/// The server's answer to [`client_hello`], two lines, taken from `input`. `None`: it refused. Descriptors
/// may come along.
pub fn client_answer(input: &mut Vec<u8>) -> Option<Progress> {
    let mut ends = input.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n").map(|(at, _)| at + 2);
    let Some(end) = ends.nth(1) else { return (input.len() <= LINE_MAX).then_some(Progress::More) };
    let accepted = input.starts_with(b"OK ");
    input.drain(..end);
    accepted.then_some(Progress::Begun)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(lines: &str, uid: u32) -> (Progress, String, Vec<u8>) {
        let (mut input, mut output) = (lines.as_bytes().to_vec(), Vec::new());
        let progress = Server::default().advance(&mut input, &mut output, uid, "feed");
        (progress, String::from_utf8(output).unwrap(), input)
    }

    #[test]
    fn given_what_sd_bus_sends_when_answered_then_messages_may_follow() {
        let (progress, said, rest) = talk("\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nl...", 0);
        assert_eq!(progress, Progress::Begun);
        assert_eq!(said, "DATA\r\nOK feed\r\nAGREE_UNIX_FD\r\n");
        assert_eq!(rest, b"l...");
        let (progress, said, _) = talk("\0AUTH EXTERNAL 30\r\nBEGIN\r\n", 0);
        assert_eq!((progress, said.as_str()), (Progress::Begun, "OK feed\r\n"));
    }

    #[test]
    fn given_another_user_or_mechanism_when_answered_then_it_is_rejected() {
        let (progress, said, _) = talk("\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n", 0);
        assert_eq!((progress, said.as_str()), (Progress::Hopeless, "REJECTED EXTERNAL\r\n"));
        let (progress, said, _) = talk("\0AUTH\r\nAUTH DBUS_COOKIE_SHA1 30\r\nHELP\r\n", 0);
        assert_eq!(progress, Progress::More);
        assert_eq!(said, "REJECTED EXTERNAL\r\nREJECTED EXTERNAL\r\nERROR\r\n");
    }

    #[test]
    fn given_garbage_when_answered_then_it_has_an_end() {
        assert_eq!(talk("GET / HTTP/1.1\r\n", 0).0, Progress::Hopeless);
        assert_eq!(talk(&format!("\0{}", "x".repeat(4000)), 0).0, Progress::Hopeless);
        assert_eq!(talk(&format!("\0{}", "AUTH\r\n".repeat(40)), 0).0, Progress::Hopeless);
        assert_eq!(talk("\0\u{fffd}\r\n", 0).0, Progress::More);
    }

    #[test]
    fn given_a_bus_that_answers_a_client_then_it_goes_on_or_gives_up() {
        assert!(client_hello(0).starts_with(b"\0AUTH EXTERNAL 30\r\n"));
        assert_eq!(client_answer(&mut b"OK 12\r\nAGREE".to_vec()), Some(Progress::More));
        let mut input = b"OK 12\r\nAGREE_UNIX_FD\r\nl".to_vec();
        assert_eq!(client_answer(&mut input), Some(Progress::Begun));
        assert_eq!(input, b"l");
        assert_eq!(client_answer(&mut b"REJECTED\r\nERROR\r\n".to_vec()), None);
    }
}
