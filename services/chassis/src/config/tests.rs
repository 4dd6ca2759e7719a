use std::{collections::BTreeMap, io::Write, net::TcpListener};

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    window_days: u32,
    greeting: String,
    strict: bool,
    adapter: Option<String>,
    model: Model,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Model {
    threshold: f64,
}

fn sources(file: Option<&tempfile::NamedTempFile>, variables: &[(&str, &str)]) -> Sources {
    Sources {
        file: file.map(|file| file.path().to_owned()),
        environment: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config<Settings>, Vec<String>> {
    let file = file(text);
    Config::read("intake", 7411, &sources(Some(&file), variables)).map_err(|error| error.problems)
}

#[test]
fn without_sources_there_are_the_defaults() {
    let config = Config::<Settings>::read("intake", 7411, &sources(None, &[])).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7411");
    assert_eq!(config.peers["audit"], "http://127.0.0.1:7415");
    assert!(config.migrate_on_start && config.reflection && !config.is_authenticated());
    assert_eq!(config.server, Server::default());
    assert_eq!(config.settings, Settings::default());
}

#[test]
fn a_later_source_wins() {
    let text = "
        data_dir = 'shared'
        partitions = 2
        log = 'warn'
        region_dir = 'file'
        server.drain_deadline = '5s'
        [intake]
        partitions = 3
        log = 'debug'
        region_dir = 'section'
        window_days = 7
        greeting = 'да'
        model.threshold = 0.5
        [intake.server]
        max_in_flight = 9
        [feedback]
        window_days = 'another service, not looked at'
    ";
    let variables = [
        ("OTKLIK_LOG", "error"),
        ("OTKLIK_REGION_DIR", "shared variable"),
        ("OTKLIK_INTAKE_REGION_DIR", "own variable"),
        ("OTKLIK_INTAKE_WINDOW_DAYS", "8"),
        ("OTKLIK_INTAKE_STRICT", "true"),
        ("OTKLIK_INTAKE_ADAPTER", "12"),
        ("OTKLIK_INTAKE_MODEL__THRESHOLD", "0.75"),
        ("OTKLIK_SERVER_DRAIN_DEADLINE", "1m 30s"),
        ("OTKLIK_REFLECTION", "false"),
        ("OTKLIK_PEERS_AUDIT", "http://audit:1"),
        ("OTKLIK_FEEDBACK_WINDOW_DAYS", "another service, not looked at"),
        ("OTKLIK_INTAKE_LISTEN", ""),
        ("OTKLIK_CONFIG", "whatever"),
        ("OTKLIK_TEST_POSTGRES", "required"),
        ("OTKLIK_INTAKE_SERVICE_HOST", "10.0.0.1"),
        ("OTKLIK_INTAKE_PORT", "tcp://10.0.0.1:7411"),
        ("OTKLIK_INTAKE_PORT_7411_TCP_ADDR", "10.0.0.1"),
    ];
    let config = read(text, &variables).unwrap();
    assert_eq!(config.data_dir.to_str(), Some("shared"));
    assert_eq!(config.partitions, 3);
    assert_eq!(config.log, "error", "a variable wins over the file, the section included");
    assert_eq!(config.region_dir.unwrap().to_str(), Some("own variable"));
    assert_eq!(config.server.max_in_flight, 9);
    assert_eq!(config.server.drain_deadline, Duration::from_secs(90));
    assert!(!config.reflection);
    assert_eq!(config.peers["audit"], "http://audit:1");
    assert_eq!(config.listen.port(), 7411, "an empty variable is an unset one");
    let settings = Settings {
        window_days: 8,
        greeting: "да".into(),
        strict: true,
        adapter: Some("12".into()),
        model: Model { threshold: 0.75 },
    };
    assert_eq!(config.settings, settings);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = "
        lisen = '127.0.0.1:1'
        partitions = 'many'
        server.drain_deadline = 'soon'
        server.speed = 3
        peers.audit = 'audit'
        peers.postman = 'http://postman'
        tls.cert = '/nowhere.pem'
        feedback = 5
        [intake]
        window_days = -1
        greting = 'x'
        model = { threshold = 0.5, size = 3 }
        database_url = 'mysql://host/db'
    ";
    let variables =
        [("OTKLIK_INTAKE_STRICT", "maybe"), ("OTKLIK_RELFECTION", "false"), ("OTKLIK_REFLECTION", "perhaps")];
    let problems = read(text, &variables).unwrap_err();
    for beginning in [
        "feedback: must be a section",
        "partitions: invalid type",
        "OTKLIK_REFLECTION: invalid type",
        "server.drain_deadline: \"soon\" is not a duration",
        "intake.greting: unknown key",
        "intake.model: size: unknown key",
        "intake.strict: invalid type",
        "intake.window_days: invalid value",
        "lisen: unknown key",
        "peers.postman: unknown key",
        "server.speed: unknown key",
        "OTKLIK_RELFECTION: unknown key",
        "database_url: must begin with",
        "peers.audit: \"audit\" is not a URL",
        "tls.cert and tls.key: one is set without the other",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(beginning)), "{beginning} is not in {problems:#?}");
    }
    assert_eq!(problems.len(), 15, "{problems:#?}");
    assert!(!InvalidConfig { problems }.to_string().contains('\n'), "one line");
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_line() {
    let problems = read("log = 'info'\n\nlisten = = 5\n", &[]).unwrap_err();
    assert!(problems[0].contains(":3: "), "{problems:?}");
    let missing = Sources { file: Some("/nowhere/otklik.toml".into()), environment: BTreeMap::new() };
    let problems = Config::<Settings>::read("intake", 7411, &missing).unwrap_err().problems;
    assert!(problems[0].starts_with("/nowhere/otklik.toml: "), "{problems:?}");
}

#[test]
fn without_authentication_only_a_loopback_is_listened_on() {
    for open in ["127.0.0.1:0", "[::1]:7411", "127.8.8.8:1"] {
        read(&format!("listen = '{open}'"), &[]).unwrap();
    }
    for wide in ["0.0.0.0:7411", "[::]:7411", "192.168.0.1:7411"] {
        let problems = read(&format!("listen = '{wide}'"), &[]).unwrap_err();
        assert!(problems[0].contains("not a loopback address"), "{problems:?}");
    }
}

#[test]
fn the_database_decides_who_migrates() {
    let postgres = [("OTKLIK_INTAKE_DATABASE_URL", "postgres://otklik:secret@db/intake")];
    let config = read("", &postgres).unwrap();
    assert!(config.is_postgres() && !config.migrate_on_start);
    assert!(read("migrate_on_start = true", &postgres).unwrap().migrate_on_start);
    assert!(!read("migrate_on_start = false", &[]).unwrap().migrate_on_start);
    assert!(read("", &[("OTKLIK_DATABASE_URL", "sqlite:/tmp/x.db")]).unwrap().migrate_on_start);
}

#[test]
fn what_is_printed_can_be_read_and_has_no_secrets() {
    let variables = [
        ("OTKLIK_INTAKE_DATABASE_URL", "postgres://otklik:se:cr@et@db:5432/intake?sslmode=disable"),
        ("OTKLIK_INTAKE_WINDOW_DAYS", "8"),
        ("OTKLIK_CLIENT_TIMEOUT", "1h 30m"),
        ("OTKLIK_SERVER_LAME_DUCK", "250ms"),
        ("OTKLIK_LOG_FORMAT", "json"),
    ];
    let config = read("", &variables).unwrap();
    let printed = config.to_toml();
    assert!(printed.contains("postgres://otklik:[redacted]@db:5432/intake?sslmode=disable"), "{printed}");
    assert!(!printed.contains("se:cr") && !format!("{config:?}").contains("se:cr"));
    let again = read(&printed, &[]).unwrap();
    assert_eq!(again.to_toml(), printed);
    assert_eq!(again.settings, config.settings);
    assert_eq!(again.server.lame_duck, Duration::from_millis(250));
    assert_eq!(again.client, config.client);

    let hidden = read("", &[("OTKLIK_DATABASE_URL", "postgres://db/x?user=a&password=secret")]).unwrap();
    assert!(!hidden.to_toml().contains("secret"));
}

#[test]
fn an_address_can_be_bound_ahead() {
    let mut config = Config::<Settings>::defaults("intake", 0);
    let address = config.bind().unwrap();
    assert_ne!(address.port(), 0);
    assert_eq!(config.listen, address);
    assert!(TcpListener::bind(address).is_err());
    assert_eq!(config.local_uri(address), format!("http://{address}"));
    assert_eq!(config.local_uri("0.0.0.0:5".parse().unwrap()), "http://127.0.0.1:5");
}
