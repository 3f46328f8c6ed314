//! What a unit file is: `systemctl is-enabled`, and what the presets want it to be.
//!
//! Reads only. The links of the search path are listed once.

use super::{Install, words};
use crate::compile::lookup::{Entry, Files, Root, UnitName, search_path};
use crate::fronts::Places;
use hostel_contract::paths;
use std::collections::BTreeMap;

/// Folders whose files say which units are to be enabled, most important first: systemd.preset(5).
const PRESETS: [&str; 5] = [
    "/etc/systemd/system-preset",
    "/run/systemd/system-preset",
    "/usr/local/lib/systemd/system-preset",
    "/usr/lib/systemd/system-preset",
    "/lib/systemd/system-preset",
];
/// Longest preset file.
const PRESET_MAX: usize = 1 << 20;

/// A symbolic link in a folder of the search path, or in one of its folders for dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The folder of the search path.
    pub dir: &'static str,
    /// Its own path.
    pub path: String,
    /// Its own name.
    pub name: String,
    /// What it says.
    pub target: String,
    /// It stands in `UNIT.wants/` or the like; else it is an alias, a mask or a linked file.
    pub pulls: bool,
}

impl Link {
    /// The last part of what it says.
    pub fn target_name(&self) -> &str {
        self.target.rsplit('/').next().unwrap_or("")
    }
}

/// All links.
pub struct Links(pub Vec<Link>);

impl Links {
    /// Lists them.
    pub fn scan(root: &Root) -> Links {
        let mut links = Vec::new();
        let mut seen = Vec::new();
        for dir in search_path() {
            match root.resolve(dir) {
                Ok(real) if !seen.contains(&real) => seen.push(real),
                _ => continue,
            }
            for (name, entry) in root.list(dir) {
                let path = format!("{dir}/{name}");
                match entry {
                    Entry::Link(target) => links.push(Link { dir, path, name, target, pulls: false }),
                    Entry::Directory if is_for_dependencies(&name) => {
                        links.extend(root.list(&path).into_iter().filter_map(|(name, entry)| {
                            let Entry::Link(target) = entry else { return None };
                            Some(Link { dir, path: format!("{path}/{name}"), name, target, pulls: true })
                        }));
                    }
                    _ => {}
                }
            }
        }
        Links(links)
    }
}

fn is_for_dependencies(folder: &str) -> bool {
    [".wants", ".requires", ".upholds"].iter().any(|suffix| folder.ends_with(suffix))
}

impl Install {
    /// State and preset of a unit's file, as UnitFileState and UnitFilePreset have them.
    pub fn states(&self, name: &str) -> (String, String) {
        match self.state(name) {
            Some(state) => (state.to_owned(), self.preset(name).to_owned()),
            None => (String::new(), String::new()),
        }
    }

    /// The state of a unit file. None: there is none.
    pub fn state(&self, name: &str) -> Option<&'static str> {
        let files = self.files(name);
        let path = files.fragment.as_str();
        if path.is_empty() {
            return None;
        }
        if files.masked {
            return Some(if path.starts_with("/run/") { "masked-runtime" } else { "masked" });
        }
        let own = path.rsplit('/').next().unwrap_or("");
        let instance = UnitName::parse(name).is_some_and(|name| name.template().is_some());
        if own != name && !instance {
            return Some("alias");
        }
        if path.starts_with("/run/systemd/generator") {
            return Some("generated");
        }
        if path.starts_with("/run/systemd/transient/") {
            return Some("transient");
        }
        Some(self.enabled(name, &files).unwrap_or_else(|| self.not_enabled(name, &files)))
    }

    /// Where the links are that `enable` makes for it.
    fn enabled(&self, name: &str, files: &Files) -> Option<&'static str> {
        let aliases = words(files, "Alias");
        let known = |link: &&Link| {
            if link.pulls {
                self.is_same(&link.name, name, files)
            } else {
                aliases.contains(&&*link.name) && link.target_name() == name
            }
        };
        let found: Vec<&str> = self.links.0.iter().filter(known).map(|link| link.dir).collect();
        let same_name = |dir: &str| {
            let own = |link: &&Link| !link.pulls && link.name == name && link.target_name() == name;
            self.links.0.iter().filter(own).any(|link| link.dir == dir)
        };
        let is_instance = UnitName::parse(name).is_some_and(|name| name.template().is_some());
        let Places { persistent, runtime, .. } = self.places;
        // What a front-end has made says what the guest's own definitions say.
        if found.contains(&persistent) || found.contains(&paths::MADE) {
            Some("enabled")
        } else if found.iter().any(|dir| dir.starts_with("/run/")) {
            Some("enabled-runtime")
        } else if !found.is_empty() && is_instance {
            Some("static")
        } else if same_name(persistent) {
            Some("linked")
        } else if same_name(runtime) {
            Some("linked-runtime")
        } else {
            None
        }
    }

    /// A link's name means this unit file: itself, or a template's default instance.
    fn is_same(&self, link: &str, name: &str, files: &Files) -> bool {
        if link == name {
            return true;
        }
        let Some(template) = UnitName::parse(name).filter(UnitName::is_template) else { return false };
        words(files, "DefaultInstance")
            .iter()
            .any(|instance| template.with_instance(instance).is_some_and(|instance| instance.full() == link))
    }

    fn not_enabled(&self, name: &str, files: &Files) -> &'static str {
        let Places { persistent, runtime, .. } = self.places;
        let is_set = |dir: &str| dir == persistent || dir == runtime;
        let other_names =
            self.links.0.iter().any(|link| {
                !link.pulls && link.name != name && link.target_name() == name && is_set(link.dir)
            });
        let template = UnitName::parse(name).is_some_and(|name| name.is_template());
        let instances = template
            && self.links.0.iter().any(|link| {
                let of = UnitName::parse(&link.name).and_then(|link| link.template());
                is_set(link.dir) && link.pulls && of.is_some_and(|of| of.full() == name)
            });
        let has_rules =
            ["Alias", "WantedBy", "RequiredBy", "UpheldBy"].iter().any(|key| !words(files, key).is_empty());
        if other_names || instances {
            "indirect"
        } else if has_rules {
            "disabled"
        } else if !words(files, "Also").is_empty() {
            "indirect"
        } else {
            "static"
        }
    }

    /// What the presets say of it: `enabled`, `disabled`, or `ignored`. Without any rule, enabled.
    pub fn preset(&self, name: &str) -> &'static str {
        let root = self.lookup.root();
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for dir in PRESETS {
            for file in root.list(dir).into_keys().filter(|file| file.ends_with(".preset")) {
                files.entry(file.clone()).or_insert_with(|| format!("{dir}/{file}"));
            }
        }
        for path in files.into_values() {
            let Ok(bytes) = root.read(&path, PRESET_MAX) else { continue };
            for line in String::from_utf8_lossy(&bytes).lines() {
                let mut words = line.split_whitespace();
                let rule = (words.next(), words.next());
                let (Some(verb), Some(pattern)) = rule else { continue };
                let Ok(pattern) = glob::Pattern::new(pattern) else { continue };
                if pattern.matches(name) {
                    match verb {
                        "enable" => return "enabled",
                        "disable" => return "disabled",
                        "ignore" => return "ignored",
                        _ => {}
                    }
                }
            }
        }
        "enabled"
    }
}
