//! The order of starts: finds and breaks circles of After=, and gives each unit its rank.
//!
//! A circle has no right answer; that the machine comes up matters more than any one ordering of it. What is
//! dropped is chosen by how little should go wrong without it, then by name, so that each build decides alike.

use crate::build::Edges;
use crate::model::UnitModel;
use crate::types::*;
use std::collections::VecDeque;
use std::vec::Vec;

/// The first is started after the second.
pub(crate) type Ordering = (u16, u16);

/// An ordering that gave way.
pub(crate) struct Dropped {
    /// Each unit of the circle is after the next one, and the last after the first.
    pub cycle: Vec<u16>,
    /// Which ordering it was.
    pub ordering: Ordering,
}

/// Removes orderings until none of them form a circle.
pub(crate) fn break_cycles(edges: &mut Edges, units: &[&UnitModel]) -> Vec<Dropped> {
    let mut dropped = Vec::new();
    let mut search = Search { done: std::vec![false; units.len()] };
    while let Some((later, earlier)) = search.closing_edge(edges) {
        let cycle = shortest_cycle(edges, later, earlier);
        let pairs = cycle.iter().copied().zip(cycle.iter().copied().cycle().skip(1));
        let Some(ordering) = pairs.min_by_key(|pair| (harm(edges, units, *pair), *pair)) else { break };
        edges[usize::from(ordering.0)].remove(&(EdgeKind::After, ordering.1));
        edges[usize::from(ordering.1)].remove(&(EdgeKind::Before, ordering.0));
        dropped.push(Dropped { cycle, ordering });
    }
    dropped
}

/// How much is likely to go wrong without an ordering; compared from the first to the last.
/// 1. One needs the other to be there first: it requires it, or a socket of its is opened by it.
/// 2. Both only group others (targets, mounts, slices): they are what all else is ordered around.
/// 3. How many of the two are required by anything, rather than merely wanted.
fn harm(edges: &Edges, units: &[&UnitModel], (later, earlier): Ordering) -> (bool, bool, usize) {
    let later_edges = &edges[usize::from(later)];
    let needed = [EdgeKind::Requires, EdgeKind::Requisite, EdgeKind::BindsTo, EdgeKind::TriggeredBy];
    let groups = |id: u16| units[usize::from(id)].kind != UnitKind::Service;
    let required = |id: &u16| {
        let by = [EdgeKind::RequiredBy, EdgeKind::RequisiteOf, EdgeKind::BoundBy];
        edges[usize::from(*id)].iter().any(|(kind, _)| by.contains(kind))
    };
    (
        needed.iter().any(|kind| later_edges.contains(&(*kind, earlier))),
        groups(later) && groups(earlier),
        [later, earlier].iter().filter(|id| required(id)).count(),
    )
}

fn after(edges: &Edges, unit: u16) -> impl Iterator<Item = u16> + '_ {
    edges[usize::from(unit)].range((EdgeKind::After, 0)..=(EdgeKind::After, u16::MAX)).map(|(_, id)| *id)
}

/// A depth-first search that remembers, from circle to circle, which units can't be in one any more.
struct Search {
    done: Vec<bool>,
}

impl Search {
    /// The first ordering found that leads back to where the search came from.
    fn closing_edge(&mut self, edges: &Edges) -> Option<Ordering> {
        let mut on_path = std::vec![false; self.done.len()];
        for root in 0..self.done.len() as u16 {
            if self.done[usize::from(root)] {
                continue;
            }
            let mut path = std::vec![(root, after(edges, root))];
            on_path[usize::from(root)] = true;
            while let Some((unit, targets)) = path.last_mut() {
                let unit = *unit;
                match targets.next() {
                    Some(target) if on_path[usize::from(target)] => return Some((unit, target)),
                    Some(target) if self.done[usize::from(target)] => (),
                    Some(target) => {
                        on_path[usize::from(target)] = true;
                        path.push((target, after(edges, target)));
                    }
                    None => {
                        on_path[usize::from(unit)] = false;
                        self.done[usize::from(unit)] = true;
                        path.pop();
                    }
                }
            }
        }
        None
    }
}

/// The shortest circle through an ordering that closes one: the fewest names for a person to read.
fn shortest_cycle(edges: &Edges, later: u16, earlier: u16) -> Vec<u16> {
    let mut came_from = std::vec![None; edges.len()];
    let mut queue = VecDeque::from([earlier]);
    while let Some(unit) = queue.pop_front().filter(|unit| *unit != later) {
        for target in after(edges, unit) {
            if target != earlier && came_from[usize::from(target)].is_none() {
                came_from[usize::from(target)] = Some(unit);
                queue.push_back(target);
            }
        }
    }
    let back = std::iter::successors(Some(later), |unit| came_from[usize::from(*unit)]);
    let mut cycle: Vec<u16> = back.collect();
    cycle.reverse();
    // A circle has no beginning: the lowest name makes it the same one from wherever it was found.
    let lowest = cycle.iter().enumerate().min_by_key(|(_, unit)| **unit).map_or(0, |(at, _)| at);
    cycle.rotate_left(lowest);
    cycle
}

/// Depth of each unit: one more than the deepest of those that it is after. There are no circles left.
pub(crate) fn ranks(edges: &Edges) -> Vec<u16> {
    let mut ranks = std::vec![0u16; edges.len()];
    let mut waits: Vec<usize> = (0..edges.len() as u16).map(|unit| after(edges, unit).count()).collect();
    let mut ready: Vec<usize> = (0..edges.len()).filter(|unit| waits[*unit] == 0).collect();
    while let Some(unit) = ready.pop() {
        for (_, later) in edges[unit].iter().filter(|(kind, _)| *kind == EdgeKind::Before) {
            let later = usize::from(*later);
            ranks[later] = ranks[later].max(ranks[unit] + 1);
            waits[later] -= 1;
            if waits[later] == 0 {
                ready.push(later);
            }
        }
    }
    ranks
}
