//! The boot as JSON. Times are microseconds since init began.

use crate::{Boot, Step};
use serde_json::{Value, json};

impl Boot {
    /// The facts: of the guest, the critical path, and each unit that was started.
    pub fn facts(&self) -> Value {
        let units = (0..self.units.len()).filter(|&index| self.units[index].start.is_some());
        json!({
            "state": self.state,
            "plan_usec": self.planned,
            "ready_usec": self.ready,
            "default_target": self.default.map(|index| &self.units[index].name),
            "critical_path": self.critical_path().iter().map(|step| self.step_facts(step)).collect::<Vec<_>>(),
            "units": units.map(|index| self.unit_facts(index)).collect::<Vec<_>>(),
        })
    }

    /// One unit of a path.
    pub fn step_facts(&self, step: &Step) -> Value {
        json!({
            "unit": self.units[step.unit].name,
            "waited_usec": step.gap,
            "started_usec": step.start.began,
            "cost_usec": step.start.cost(),
            "done_usec": step.start.done,
        })
    }

    fn unit_facts(&self, index: usize) -> Value {
        let unit = &self.units[index];
        let began = unit.start.map(|start| start.began);
        json!({
            "unit": unit.name,
            "active": unit.active,
            "result": unit.result,
            "queued_usec": self.waits_since(unit),
            "waited_for": self.waited_for(index).map(|before| &self.units[before].name),
            "started_usec": began,
            "cost_usec": unit.start.map(|start| start.cost()),
            "done_usec": unit.start.and_then(|start| start.done),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::made;

    #[test]
    fn given_a_boot_when_told_as_json_then_units_name_what_they_waited_for() {
        let facts = made().facts();
        assert_eq!(facts["default_target"], "all.target");
        assert_eq!(facts["critical_path"][2]["unit"], "web.service");
        let units = facts["units"].as_array().unwrap();
        let web = units.iter().find(|unit| unit["unit"] == "web.service").unwrap();
        assert_eq!((&web["waited_for"], &web["cost_usec"]), (&"db.service".into(), &39_000.into()));
        assert!(units.iter().all(|unit| unit["unit"] != "never.service"));
    }
}
