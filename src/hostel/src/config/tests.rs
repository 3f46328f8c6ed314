use super::*;

const TEXT: &str = "# of the web team\n[limits]\nmemory = \"512M\" # enough\ntasks = 200\n\n[network]\nkind = \"veth\"\naddress = [\"10.0.0.2/24\"]\n";

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, Path::new("guest.toml"))
}

fn places() -> (tempfile::TempDir, Places, GuestName) {
    let folder = tempfile::tempdir().unwrap();
    let places = Places::new(Some(folder.path().join("run")), Some(folder.path().join("store"))).unwrap();
    let name: GuestName = "web".parse().unwrap();
    fs::create_dir_all(places.guest(&name)).unwrap();
    (folder, places, name)
}

#[test]
fn given_a_configuration_when_read_then_values_have_their_plain_form() {
    let config = parse(TEXT).unwrap();
    assert_eq!(config.text("limits", "memory"), Some("536870912"));
    assert_eq!(config.text("limits", "tasks"), Some("200"));
    assert_eq!(config.list("network", "address"), ["10.0.0.2/24"]);
    assert_eq!(config.text("limits", "cpu"), None);
    assert_eq!(config.set().count(), 4);
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn given_a_mistake_when_read_then_file_line_and_remedy_are_named() {
    let cases = [
        ("[limits]\n\nmemroy = 1\n", 3, "has no key memroy; it has memory,"),
        ("[limits]\nmemory = \"12X\"\n", 2, "write a size"),
        ("\n[limit]\nmemory = 1\n", 2, "there are [limits], [context]"),
        ("limits = 3\n", 1, "write [limits]"),
        ("[limits]\nmemory = {}\n", 2, "write a size"),
        ("[limits]\nmemory = 1\nmemory = 2\n", 3, "duplicate key"),
        ("[limits\n", 1, ""),
    ];
    for (text, line, remedy) in cases {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.starts_with(&format!("guest.toml:{line}: ")), "{text:?}: {said}");
        assert!(said.contains(remedy), "{text:?}: {said}");
    }
}

#[test]
fn given_changes_when_made_then_comments_and_the_rest_stay() {
    let (_folder, places, name) = places();
    write(&places, &name, TEXT).unwrap();
    let changes: Vec<Change> = ["memory=1G", "limits.cpu=50%", "tasks=", "gateway=10.0.0.1,fd00::1"]
        .map(|text| text.parse().unwrap())
        .into();
    let (text, config) = changed(&places, &name, &changes).unwrap();
    assert!(text.contains("# of the web team") && text.contains("memory = \"1G\" # enough"), "{text}");
    assert_eq!(config.text("limits", "cpu"), Some("50%"));
    assert_eq!(config.text("limits", "tasks"), None);
    assert_eq!(config.list("network", "gateway"), ["10.0.0.1", "fd00::1"]);
    assert_eq!(read_text(&Config::file(&places, &name)).unwrap(), TEXT, "nothing is written yet");
}

#[test]
fn given_no_file_when_changed_then_one_can_be_made() {
    let (_folder, places, name) = places();
    let (text, config) = changed(&places, &name, &["memory=1G".parse().unwrap()]).unwrap();
    assert_eq!(text, "[limits]\nmemory = \"1G\"\n");
    assert_eq!(config.text("limits", "memory"), Some("1073741824"));
}

#[test]
fn given_bad_changes_when_parsed_then_they_are_refused() {
    for (text, why) in [
        ("memory", "NAME=VALUE"),
        ("ram=1G", "there is no key"),
        ("memory=1X", "write a size"),
        ("limits.kind=veth", "no key"),
    ] {
        let refused = text.parse::<Change>().unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}
