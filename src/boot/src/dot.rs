//! The edges between units as a graph for dot(1), in the colours of `systemd-analyze dot`.

use crate::Boot;
use hostel_plan::EdgeKind;

/// The colour of an edge; the kinds that have none are not drawn.
fn colour(kind: EdgeKind) -> Option<&'static str> {
    const COLOURS: [(EdgeKind, &str); 6] = [
        (EdgeKind::After, "green"),
        (EdgeKind::Requires, "black"),
        (EdgeKind::Requisite, "darkblue"),
        (EdgeKind::Wants, "grey66"),
        (EdgeKind::BindsTo, "magenta"),
        (EdgeKind::Conflicts, "red"),
    ];
    COLOURS.into_iter().find(|(known, _)| *known == kind).map(|(_, colour)| colour)
}

/// Draws all units and their edges.
pub fn draw(boot: &Boot) -> String {
    let mut text = String::from("digraph systemd {\n");
    for unit in &boot.units {
        for &(kind, to) in &unit.edges {
            if let (Some(colour), Some(to)) = (colour(kind), boot.units.get(to)) {
                text += &format!(
                    "\t\"{}\"->\"{}\" [color=\"{colour}\"];\n",
                    quoted(&unit.name),
                    quoted(&to.name)
                );
            }
        }
    }
    text + "}\n"
}

fn quoted(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::made;

    #[test]
    fn given_edges_when_drawn_then_kinds_have_colours_and_names_are_quoted() {
        let mut boot = made();
        assert!(draw(&boot).contains("\t\"web.service\"->\"db.service\" [color=\"black\"];\n"));
        boot.units[1].name = "a\\x2d\"b.service".to_owned();
        assert!(draw(&boot).contains("\"a\\\\x2d\\\"b.service\"->"));
    }
}
