//! Calls that came over the bus and wait for their turn. Their senders take turns, and each has room for so many: who
//! floods waits for itself.

use super::dispatch::{Call, Origin};
use std::collections::{HashMap, VecDeque};

/// Calls of one sender that may wait.
const OF_ONE_MAX: usize = 64;

/// The calls.
#[derive(Default)]
pub struct Queue {
    of: HashMap<String, VecDeque<Call>>,
    /// Senders of which some wait, in the order of their turns.
    turns: VecDeque<String>,
}

impl Queue {
    /// Adds a call. Gives it back where too many of its sender wait.
    pub fn push(&mut self, call: Call) -> Option<Call> {
        let Origin::Bus(sender) = &call.origin else { return Some(call) };
        match self.of.get_mut(sender) {
            Some(calls) if calls.len() >= OF_ONE_MAX => return Some(call),
            Some(calls) => calls.push_back(call),
            None => {
                self.turns.push_back(sender.clone());
                self.of.insert(sender.clone(), VecDeque::from([call]));
            }
        }
        None
    }

    /// The next call.
    pub fn pop(&mut self) -> Option<Call> {
        let sender = self.turns.pop_front()?;
        let calls = self.of.get_mut(&sender)?;
        let call = calls.pop_front();
        if calls.is_empty() {
            self.of.remove(&sender);
        } else {
            self.turns.push_back(sender);
        }
        call
    }

    /// Does none wait?
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::Caller;
    use super::super::message::Message;
    use super::*;

    fn call(sender: &str, member: &str) -> Call {
        let message = Message::call("", "/", "a.b", member, vec![]);
        Call {
            message,
            origin: Origin::Bus(sender.into()),
            authorized: true,
            caller: Caller::UNKNOWN,
            reloaded: false,
        }
    }

    #[test]
    fn given_a_sender_that_floods_when_another_calls_once_then_that_one_is_next_but_one() {
        let mut queue = Queue::default();
        let refused = (0..1000).filter_map(|_| queue.push(call(":1.1", "Flood"))).count();
        assert_eq!(refused, 1000 - OF_ONE_MAX);
        assert!(queue.push(call(":1.2", "Honest")).is_none());
        let members: Vec<String> = (0..3).map(|_| queue.pop().unwrap().message.member).collect();
        assert_eq!(members, ["Flood", "Honest", "Flood"]);
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), OF_ONE_MAX - 2);
        assert!(queue.is_empty() && queue.push(call(":1.1", "Again")).is_none());
    }
}
