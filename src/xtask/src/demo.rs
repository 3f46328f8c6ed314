//! `cargo xtask demo`: a guest from this machine's own root, up and down again, with nothing changed.
//!
//! Needs root and a Rust toolchain; downloads nothing but crates. What the guest writes goes into a layer
//! that is thrown away; the machine's own files are only read.

use std::path::Path;
use std::time::Instant;

use hostel_tests::cli;
use hostel_tests::host::Watch;
use hostel_tests::tree::Tree;

use crate::build;
use crate::shell::{About, Done, Error, no_arguments};

/// What of the machine is compared before and after: the part that whoever boots a system changes first.
const COMPARED: &str = "/etc";

/// Exit status of `hostel start` for a guest that is up, with units that failed.
const UP_BUT_UNITS_FAILED: i32 = 6;

/// `cargo xtask demo`.
pub fn task(arguments: &[String]) -> Done {
    no_arguments(arguments)?;
    build::programs()?;
    let name = format!("demo-{}", std::process::id());
    let demo = Demo { watch: Watch::new(&name), name };
    let compared = Path::new(COMPARED);
    let before = Tree::read(compared).about("read", compared)?;
    demo.boot_and_stop()?;
    let after = Tree::read(compared).about("read", compared)?;
    let changes = before.changes(&after);
    if let Some(change) = changes.first() {
        let path = compared.join(&change.path);
        return Err(Error::Wrong(format!("{} changed meanwhile: {}", path.display(), change.what)));
    }
    println!("\nNothing below {COMPARED} has changed, and nothing of the guest is left on this machine.");
    Ok(())
}

/// The guest; dropped, it is removed, however far it came.
struct Demo {
    name: String,
    watch: Watch,
}

impl Demo {
    fn boot_and_stop(mut self) -> Done {
        let name = self.name.clone();
        println!("\nA guest named {name}, from this machine's own root with a throwaway layer above it:");
        cli::call(&["create", &name, "--from", "host:/", "--volatile"])?;
        let began = Instant::now();
        let started = cli::attempt(&["start", &name])?;
        let up = began.elapsed();
        print!("{}", started.said());
        let status = cli::status(&name).unwrap_or_default();
        if status.init == 0 {
            return Err(Error::Wrong(format!(
                "the guest did not start: `hostel start` said {}",
                started.status
            )));
        }
        self.watch.remember(status.init);
        let services =
            status.units.iter().filter(|unit| unit.name.ends_with(".service") && unit.active != "inactive");
        for unit in services {
            let process = if unit.main_pid == 0 { String::new() } else { format!("pid {}", unit.main_pid) };
            println!("  {:<44} {:<10} {:<10} {process}", unit.name, unit.active, unit.sub);
        }
        println!(
            "It is {} after {:.2} s, with {} processes.",
            status.state,
            up.as_secs_f64(),
            self.processes()
        );
        // Up although units failed: which ones, it has said. What this machine's own services miss in a guest of
        // it (a disk, a certificate) is no fault of the demonstration.
        if !matches!(started.status.code(), Some(0 | UP_BUT_UNITS_FAILED)) {
            started.success()?;
        }

        let began = Instant::now();
        cli::call(&["stop", &name])?;
        println!("Stopped in {:.2} s; processes left: {}.", began.elapsed().as_secs_f64(), self.processes());
        cli::call(&["rm", &name])?;
        let left = self.watch.leftovers();
        if left.is_empty() { Ok(()) } else { Err(Error::Wrong(format!("left behind:\n{}", left.join("\n")))) }
    }

    /// Processes in the guest's namespaces or cgroups, the keeper among them.
    fn processes(&self) -> usize {
        self.watch.processes().len()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Where all went well there is none of that name any more, and this says so to nobody.
        let _ = cli::attempt(&["rm", "--force", &self.name]);
    }
}
