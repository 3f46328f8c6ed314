//! In which order many guests are started or stopped: as many at once as may be, none before those that it waits for.
//! Pure; for a stop the dependencies are turned around.

use crate::name::GuestName;
use std::collections::{BTreeMap, BTreeSet};

/// Guests that are to be worked on, each with those that it waits for.
#[derive(Debug, Default)]
pub struct Order {
    waiting: BTreeMap<GuestName, BTreeSet<GuestName>>,
    under_way: BTreeSet<GuestName>,
    failed: BTreeSet<GuestName>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Begin with this one.
    Begin(GuestName),
    /// Not with this one: the other, which it waits for, has failed.
    Skip(GuestName, GuestName),
    /// One that is under way must end first.
    Wait,
    /// All are done.
    End,
}

impl Order {
    /// Each guest with those that it depends on. One that is not among the guests is not waited for.
    pub fn new(depends: BTreeMap<GuestName, BTreeSet<GuestName>>) -> Order {
        let known: BTreeSet<GuestName> = depends.keys().cloned().collect();
        let mut waiting = depends;
        for (name, others) in &mut waiting {
            others.retain(|other| known.contains(other) && other != name);
        }
        Order { waiting, ..Order::default() }
    }

    /// The same, turned around: each waits for those that depend on it.
    pub fn reversed(depends: &BTreeMap<GuestName, BTreeSet<GuestName>>) -> Order {
        let mut turned: BTreeMap<GuestName, BTreeSet<GuestName>> =
            depends.keys().map(|name| (name.clone(), BTreeSet::new())).collect();
        for (name, others) in depends {
            for other in others {
                if let Some(waits) = turned.get_mut(other) {
                    waits.insert(name.clone());
                }
            }
        }
        Order::new(turned)
    }

    /// Guests that wait for each other in a circle; the circle is broken where this is called, at the first of them.
    pub fn break_circle(&mut self) -> Option<GuestName> {
        let mut left = self.waiting.clone();
        loop {
            let free: Vec<GuestName> =
                left.iter().filter(|(_, others)| others.is_empty()).map(|(name, _)| name.clone()).collect();
            if free.is_empty() {
                break;
            }
            for name in &free {
                left.remove(name);
            }
            left.values_mut().for_each(|others| others.retain(|other| !free.contains(other)));
        }
        // Who merely waits for a circle is not in it: nobody that is left waits for them.
        while let Some(outside) =
            left.keys().find(|name| !left.values().any(|others| others.contains(*name))).cloned()
        {
            left.remove(&outside);
        }
        let first = left.keys().next()?.clone();
        let in_circle: BTreeSet<GuestName> = left.into_keys().collect();
        if let Some(others) = self.waiting.get_mut(&first) {
            others.retain(|other| !in_circle.contains(other));
        }
        Some(first)
    }

    /// What is to be done next.
    pub fn next(&mut self) -> Next {
        let lost = self.waiting.iter().find_map(|(name, others)| {
            let failed = others.iter().find(|other| self.failed.contains(*other))?;
            Some((name.clone(), failed.clone()))
        });
        if let Some((name, failed)) = lost {
            self.waiting.remove(&name);
            self.failed.insert(name.clone());
            return Next::Skip(name, failed);
        }
        let ready = self.waiting.iter().find(|(_, others)| others.is_empty()).map(|(name, _)| name.clone());
        match ready {
            Some(name) => {
                self.waiting.remove(&name);
                self.under_way.insert(name.clone());
                Next::Begin(name)
            }
            None if self.under_way.is_empty() => Next::End,
            None => Next::Wait,
        }
    }

    /// One that was begun has ended.
    pub fn ended(&mut self, name: &GuestName, well: bool) {
        self.under_way.remove(name);
        if !well {
            self.failed.insert(name.clone());
            return;
        }
        for others in self.waiting.values_mut() {
            others.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> GuestName {
        text.parse().unwrap()
    }

    /// "web:db,log db log" as guests and what they depend on.
    fn depends(text: &str) -> BTreeMap<GuestName, BTreeSet<GuestName>> {
        let guest = |word: &str| {
            let (own, others) = word.split_once(':').unwrap_or((word, ""));
            let others = others.split(',').filter(|other| !other.is_empty());
            (name(own), others.map(name).collect())
        };
        text.split(' ').map(guest).collect()
    }

    /// All steps, each guest ending at once; `bad` fails.
    fn steps(mut order: Order, bad: &str) -> Vec<String> {
        let mut steps = Vec::new();
        loop {
            match order.next() {
                Next::Begin(name) => {
                    steps.push(name.to_string());
                    order.ended(&name, name.as_str() != bad);
                }
                Next::Skip(name, other) => steps.push(format!("{name} without {other}")),
                Next::Wait => unreachable!("nothing is under way"),
                Next::End => return steps,
            }
        }
    }

    #[test]
    fn given_dependencies_when_started_then_each_comes_after_its_own_and_stops_before_them() {
        let depends = depends("web:db,log db:log log");
        assert_eq!(steps(Order::new(depends.clone()), ""), ["log", "db", "web"]);
        assert_eq!(steps(Order::reversed(&depends), ""), ["web", "db", "log"]);
    }

    #[test]
    fn given_guests_that_wait_for_nobody_when_started_then_all_are_begun_at_once() {
        let mut order = Order::new(depends("a b c:a"));
        assert_eq!((order.next(), order.next()), (Next::Begin(name("a")), Next::Begin(name("b"))));
        assert_eq!(order.next(), Next::Wait);
        order.ended(&name("a"), true);
        assert_eq!(order.next(), Next::Begin(name("c")));
    }

    #[test]
    fn given_one_that_fails_when_started_then_what_waits_for_it_is_left_out_and_the_rest_is_not() {
        assert_eq!(
            steps(Order::new(depends("web:db db mail top:web")), "db"),
            ["db", "web without db", "top without web", "mail"]
        );
    }

    #[test]
    fn given_a_circle_when_looked_for_then_it_is_broken_at_its_first_and_all_are_started() {
        let mut order = Order::new(depends("a:x x:y y:x z:y"));
        assert_eq!(order.break_circle(), Some(name("x")));
        assert_eq!(order.break_circle(), None);
        assert_eq!(steps(order, ""), ["x", "a", "y", "z"]);
    }

    #[test]
    fn given_a_dependency_that_is_not_among_them_when_started_then_nobody_waits_for_it() {
        assert_eq!(steps(Order::new(depends("web:gone web2:web2")), ""), ["web", "web2"]);
    }
}
