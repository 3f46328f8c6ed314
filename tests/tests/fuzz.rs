//! The fuzz targets, each for a while: what one of them finds is a failure.

mod long {
    use std::process::Command;

    use hostel_tests::paths;

    /// Seconds of each target.
    const SECONDS: &str = "10";

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_each_fuzz_target_when_it_runs_for_a_while_then_it_finds_nothing() {
        let mut fuzz = Command::new("cargo");
        fuzz.args(["xtask", "fuzz", SECONDS]).current_dir(paths::repository());
        assert!(fuzz.status().expect("cargo is there").success(), "see above for the input that was found");
    }
}
