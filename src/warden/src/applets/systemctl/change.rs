//! Verbs that the manager itself carries out: `set-property`, `isolate`, `clean`, `freeze`, `thaw`, `whoami`, `cancel`, and those
//! about the environment that services are started with.

use super::super::manager::Manager;
use super::super::{Outcome, Words};
use super::{exit, full_names, jobs};
use crate::bus::Value;
use crate::ctl::escape;

/// `set-property UNIT NAME=VALUE...`.
pub fn set_property(names: &[&str], words: &Words<'_>) -> Outcome {
    let Some((unit, assignments)) = names.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err("Too few arguments.".into());
    };
    let mut properties = Vec::new();
    for assignment in assignments {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(format!("Not an assignment: {}", escape(assignment)));
        };
        properties.push(Value::Struct(vec![name.into(), Value::from(value).boxed()]));
    }
    for unit in full_names(&[*unit])? {
        let list = Value::array("(sv)", properties.clone());
        let body = vec![unit.as_str().into(), words.has(&["runtime"]).into(), list];
        Manager::connect()?.ask("SetUnitProperties", body).map_err(|error| {
            format!("Failed to set unit properties on {}: {}", escape(&unit), escape(&error))
        })?;
    }
    Ok(0)
}

/// `isolate UNIT`, also by `default`, `rescue` and `emergency`: the unit with what it pulls in, and nothing else.
pub fn isolate(names: &[&str], words: &Words<'_>) -> Outcome {
    let [name] = names else { return Err("name one unit".into()) };
    // A target, where nothing says otherwise: "isolate rescue".
    let name = if name.contains('.') { (*name).to_owned() } else { format!("{name}.target") };
    let body = vec![name.as_str().into(), "isolate".into()];
    Manager::connect()?
        .ask("StartUnit", body)
        .map_err(|error| format!("Failed to start {}: {}", escape(&name), escape(&error)))?;
    // Its job is there: this one becomes the same, and is waited for.
    jobs("start", &[&name], words)
}

/// `clean UNIT...`, `freeze UNIT...`, `thaw UNIT...`.
pub fn each(verb: &str, names: &[&str], words: &Words<'_>) -> Outcome {
    let mut worst = 0;
    let mut manager = Manager::connect()?;
    for unit in full_names(names)? {
        let mut body = vec![Value::from(unit.as_str())];
        let method = match verb {
            "clean" => {
                let what = words.values(&["what"]);
                let kinds = if what.is_empty() { vec!["cache", "runtime", "fdstore"] } else { what };
                body.push(Value::strings(kinds));
                "CleanUnit"
            }
            "freeze" => "FreezeUnit",
            _ => "ThawUnit",
        };
        if let Err(error) = manager.ask(method, body) {
            eprintln!("Failed to {verb} unit {}: {}", escape(&unit), escape(&error));
            worst = exit::FAILED;
        }
    }
    Ok(worst)
}

/// `cancel [JOB...]`.
pub fn cancel(names: &[&str]) -> Outcome {
    let mut manager = Manager::connect()?;
    if names.is_empty() {
        return manager.ask("ClearJobs", vec![]).map(|_| 0);
    }
    for name in names {
        let number: u32 = name.parse().map_err(|_| format!("Failed to parse job id \"{}\"", escape(name)))?;
        manager
            .ask("CancelJob", vec![number.into()])
            .map_err(|error| format!("Failed to cancel job {number}: {}", escape(&error)))?;
    }
    Ok(0)
}

/// `whoami [PID...]`: the units that processes belong to.
pub fn whoami(names: &[&str]) -> Outcome {
    let own = std::process::id().to_string();
    let own = [own.as_str()];
    let mut manager = Manager::connect()?;
    for name in if names.is_empty() { &own[..] } else { names } {
        let pid: u32 = name.parse().map_err(|_| format!("Failed to parse PID {}", escape(name)))?;
        let answer = manager.ask("GetUnitByPID", vec![pid.into()]).map_err(|error| escape(&error))?;
        let unit = answer.first().and_then(Value::text).and_then(crate::bus::unit_of_path);
        println!("{}", escape(&unit.unwrap_or_default()));
    }
    Ok(0)
}

/// `show-environment`, `set-environment`, `unset-environment`, `import-environment`.
pub fn environment(verb: &str, names: &[&str]) -> Outcome {
    let failed = |error: String| format!("Failed to {verb}: {}", escape(&error));
    let mut manager = Manager::connect()?;
    let needs_names = matches!(verb, "set-environment" | "unset-environment");
    if needs_names && names.is_empty() {
        return Err("Too few arguments.".into());
    }
    match verb {
        "show-environment" => {
            let properties = manager.properties(None).map_err(failed)?;
            let environment = properties.iter().find(|(name, _)| name == "Environment");
            for line in environment.map(|(_, value)| value.texts()).unwrap_or_default() {
                println!("{}", escape(line));
            }
        }
        "import-environment" => {
            let of = |name: &str| Some(format!("{name}={}", std::env::var(name).ok()?));
            let assignments: Vec<String> = match names {
                [] => std::env::vars().map(|(name, value)| format!("{name}={value}")).collect(),
                names => names.iter().filter_map(|name| of(name)).collect(),
            };
            manager.ask("SetEnvironment", vec![Value::strings(assignments)]).map_err(failed)?;
        }
        _ => {
            let method = if verb == "set-environment" { "SetEnvironment" } else { "UnsetEnvironment" };
            manager.ask(method, vec![Value::strings(names.iter().copied())]).map_err(failed)?;
        }
    }
    Ok(0)
}
