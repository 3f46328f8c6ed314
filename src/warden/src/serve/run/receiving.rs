//! A turn of each that is received from: every pipe, socket and stream, in bounded pieces.

use super::*;

impl Serve<'_> {
    /// Receives what there is, as much as there is room for. True: nothing was left behind.
    pub(super) fn receive(&mut self) -> bool {
        if !self.listening || self.next_plan.is_some() {
            return false;
        }
        self.is_full = false;
        match self.receive_output() {
            // Each is received from, whatever the others have.
            Ok(all) => self.receive_datagrams() & self.receive_streams() & all,
            Err(error) => {
                self.be_in_trouble("output of units can't be received", &error);
                false
            }
        }
    }

    fn receive_output(&mut self) -> io::Result<bool> {
        let ready = self.pipes.ready()?;
        let mut all = ready.is_all();
        for &at in ready.places() {
            let Some((unit, pipe)) = self.pipes.get(at) else { continue };
            match self.sink.take_output(unit, pipe) {
                Ok(Taken::Some | Taken::Nothing | Taken::End) => (),
                Ok(Taken::Full) => (all, self.is_full) = (false, true),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    // No pipe. Waiting for it again would never end.
                    self.pipes.remove(at);
                    self.complain(&format!("the output of a unit can't be received: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Receives some datagrams. True: nothing was left behind.
    fn receive_datagrams(&mut self) -> bool {
        let mut all = true;
        for at in 0..self.datagrams.len() {
            match self.receive_from(at) {
                Ok(empty) => all &= empty,
                Err(error) => {
                    let path = self.datagrams[at].path(&self.options.root);
                    self.be_in_trouble(&format!("{} can't be received from", path.display()), &error);
                    return false;
                }
            }
        }
        all
    }

    /// Receives one turn of a socket's datagrams. True: nothing was left behind.
    fn receive_from(&mut self, at: usize) -> io::Result<bool> {
        let Some(socket) = self.datagrams.get_mut(at) else { return Ok(true) };
        for _ in 0..LOOKS {
            match self.sink.take_datagrams(socket)? {
                Taken::Some => (),
                Taken::Nothing | Taken::End => return Ok(true),
                Taken::Full => {
                    self.is_full = true;
                    return Ok(false);
                }
            }
            if let Some(bytes) = socket.take_refused() {
                self.complain(&format!(
                    "an entry of {bytes} bytes was refused: {} are taken",
                    crate::serve::datagrams::DATAGRAM_MAX
                ));
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Receives a turn of each stream. True: nothing was left behind.
    fn receive_streams(&mut self) -> bool {
        match self.receive_from_streams() {
            Ok(all) => all,
            Err(error) => {
                let path = Streams::path(&self.options.root);
                self.be_in_trouble(&format!("{} can't be received from", path.display()), &error);
                false
            }
        }
    }

    fn receive_from_streams(&mut self) -> io::Result<bool> {
        let (ready, mut all) = self.streams.ready()?;
        for slot in ready {
            let Some(stream) = self.streams.get(slot) else { continue };
            match self.sink.take_stream(slot, stream)? {
                Taken::Nothing => (),
                // There may be more than one turn of it.
                Taken::Some => all = false,
                Taken::Full => (all, self.is_full) = (false, true),
                Taken::End => self.streams.remove(slot)?,
            }
        }
        Ok(all)
    }
}
