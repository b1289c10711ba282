//! What is read, from where, and what is refused.

use super::*;

fn with_flags(flags: &Flags, pairs: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
    let lookup = |name| Ok(pairs.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned()));
    Config::read(&Values::collect(flags, lookup)?)
}

fn with(variable: &'static str, value: &str) -> Result<Config, ConfigError> {
    with_flags(&Flags::new(), &[(variable, value)])
}

/// A value as it is shown, and where it comes from.
fn shown(config: &Config, variable: &str) -> (Option<String>, String) {
    let found = config.effective().iter().find(|effective| effective.setting.variable == variable).unwrap();
    (found.value.clone(), found.place())
}

#[test]
fn nothing_set_leaves_everything_to_the_caller() {
    let config = with_flags(&Flags::new(), &[]).unwrap();
    assert!(config.database.is_none() && config.nodes.is_empty());
    assert_eq!(config.repository, None);
    assert!(with(DATABASE_URL, "").unwrap().database.is_none());
    assert_eq!(config.service, ServiceConfig::default());
    assert!(config.effective().iter().all(|effective| effective.source == Source::Default));
}

#[test]
fn the_defaults_shown_are_those_in_force() {
    let nothing = with_flags(&Flags::new(), &[]).unwrap();
    for setting in Setting::ALL.iter().filter(|setting| !setting.default.is_empty()) {
        let config = with(setting.variable, setting.default).unwrap();
        assert_eq!(config.service, nothing.service, "{}", setting.variable);
        assert_eq!(
            (
                config.database_connections,
                config.migrate,
                config.cache_capacity,
                config.log_format,
                config.resident_lag
            ),
            (
                nothing.database_connections,
                nothing.migrate,
                nothing.cache_capacity,
                nothing.log_format,
                nothing.resident_lag
            ),
            "{}",
            setting.variable
        );
    }
}

#[test]
fn values_are_read() {
    let config = with(REDLOCK_NODES, "redis://a, redis://b").unwrap();
    assert_eq!(config.nodes, ["redis://a", "redis://b"]);
    for (name, kind) in [
        ("row-lock", RepositoryKind::RowLock),
        ("redlock", RepositoryKind::Redlock),
        ("resident", RepositoryKind::Resident),
    ] {
        assert_eq!(with(STOCK_REPOSITORY, name).unwrap().repository, Some(kind));
        assert_eq!(kind.to_string(), name);
    }
    for (text, guard) in [
        ("max-ttl", RestartGuard::MaxTtl),
        ("off", RestartGuard::Off),
        ("30", RestartGuard::For(Duration::from_secs(30))),
    ] {
        assert_eq!(with(REDLOCK_RESTART_GUARD, text).unwrap().restart_guard, Some(guard));
    }
    let config = with(REDIS_HOST, "cache.example").unwrap();
    assert_eq!(config.redis.unwrap().to_string(), "cache.example:6379/0");
    assert_eq!(with(REDIS_PASSWORD, "secret").unwrap().redis, None);
    let config = with(DATABASE_URL, "sqlite:stock.db").unwrap();
    assert_eq!(config.database.unwrap().to_string(), "sqlite:stock.db");
    assert_eq!(with(STOCK_BIND, "localhost:0").unwrap().service.bind.to_string(), "127.0.0.1:0");
    assert_eq!(with(STOCK_LOG_FORMAT, "json").unwrap().log_format, LogFormat::Json);
    assert!(!with(STOCK_MIGRATE, "off").unwrap().migrate);
    assert_eq!(with(STOCK_RESIDENT_LAG, "30").unwrap().resident_lag, Duration::from_secs(30));
}

#[test]
fn a_flag_counts_more_than_the_environment_and_that_more_than_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stock.toml");
    let text = "# every key\nrepository = \"row-lock\"\nqueue = 5\nredis_tls = true\nredlock_nodes = [\"redis://a\", \"redis://b\"]\n\
                bind = \"127.0.0.1:1\"\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let flags = Flags::from([(STOCK_BIND, "127.0.0.1:3".to_owned())]);
    let environment =
        [(STOCK_CONFIG, path), (STOCK_BIND, "127.0.0.1:2"), (STOCK_REPOSITORY, "redlock"), (REDIS_HOST, "r")];
    let config = with_flags(&flags, &environment).unwrap();
    assert_eq!(config.service.bind.port(), 3);
    assert_eq!(config.repository, Some(RepositoryKind::Redlock));
    assert_eq!((config.service.queue, config.nodes.len()), (5, 2));
    assert!(config.redis.as_ref().unwrap().tls);
    for (variable, value, place) in [
        (STOCK_BIND, Some("127.0.0.1:3"), "flag --bind"),
        (STOCK_REPOSITORY, Some("redlock"), "env STOCK_REPOSITORY"),
        ("STOCK_QUEUE", Some("5"), &*format!("{path}:3")),
        (REDLOCK_NODES, Some("redis://a,redis://b"), &*format!("{path}:5")),
        (REDIS_PORT, Some("6379"), "default"),
        (REDIS_PASSWORD, None, "default"),
    ] {
        assert_eq!(shown(&config, variable), (value.map(str::to_owned), place.to_owned()), "{variable}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_shows_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stock.toml");
    for (text, part) in [
        (
            "queue = 1\n\nredis_pasword = \"hush\"",
            "line 3: the key `redis_pasword` is unknown; allowed are database_url",
        ),
        ("queue = 1\nredis_password = \"hush", "no TOML near line 2"),
        ("[service]\nbind = \"hush\"", "line 1: the key `service` is unknown"),
        ("queue = 1.5", "line 1: `queue` is neither a text"),
        ("\nqueue = 0", "STOCK_QUEUE ("),
        ("\nqueue = 0", "stock.toml:2): `0` cannot be used: allowed are 1 to 1000000"),
    ] {
        std::fs::write(&path, text).unwrap();
        let flags = Flags::from([(STOCK_CONFIG, path.to_str().unwrap().to_owned())]);
        let message = with_flags(&flags, &[]).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("stock.toml"), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
    let message = with(STOCK_CONFIG, "/nowhere/stock.toml").unwrap_err().to_string();
    assert!(message.contains(STOCK_CONFIG) && message.contains("/nowhere/stock.toml"), "{message}");
}

#[test]
fn errors_name_variable_value_and_what_is_allowed() {
    for (variable, value, allowed) in [
        (DATABASE_URL, "postgres://localhost/stock", "mysql://"),
        (REDLOCK_NODES, "redis://a,,redis://b", "redis://host:port"),
        (STOCK_REPOSITORY, "optimistic", "row-lock, redlock and resident"),
        (REDIS_PORT, "redis", "1 to 65535"),
        (REDIS_PORT, "0", "1 to 65535"),
        (REDIS_DB, "-1", "0 to 65535"),
        (REDIS_TLS, "perhaps", "on and off"),
        (REDLOCK_RESTART_GUARD, "never", "max-ttl, off and whole seconds"),
        (REDLOCK_RESTART_GUARD, "1.5", "max-ttl, off and whole seconds"),
        (REDLOCK_RESTART_GUARD, "0", "from 1 to 86400"),
        (REDLOCK_RESTART_GUARD, "86401", "from 1 to 86400"),
        (STOCK_BIND, "8080", "address:port"),
        (STOCK_LOG_FORMAT, "xml", "text and json"),
        ("STOCK_HOSTS", "a:80", "without ports"),
        (REDIS_HOST, "redis://h", "a name or an address"),
        (STOCK_RESIDENT_LAG, "601", "0 to 600"),
        ("STOCK_QUEUE", "0", "1 to 1000000"),
        ("STOCK_TLS_CERT", "cert.pem", "STOCK_TLS_KEY is not set"),
    ] {
        let message = with(variable, value).unwrap_err().to_string();
        for part in [variable, value, allowed] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }
    let flags = Flags::from([(STOCK_REPOSITORY, "hope".to_owned())]);
    let message = with_flags(&flags, &[]).unwrap_err().to_string();
    assert!(message.contains("given as a flag"), "{message}");
}

#[test]
fn nothing_shows_a_secret() {
    for (variable, value) in [
        (DATABASE_URL, "postgres://me:secret@localhost/stock"),
        (REDLOCK_NODES, "redis://:secret@a,,redis://me:secret@b"),
        (STOCK_API_TOKEN, "secret secret"),
        (REDIS_HOST, "redis://:secret@h"),
    ] {
        let message = with(variable, value).unwrap_err().to_string();
        assert!(!message.contains("secret"), "{message}");
    }
    for (variable, value) in [
        (DATABASE_URL, "mysql://me:secret@localhost/stock"),
        (REDLOCK_NODES, "redis://:secret@a,redis://me:secret@b"),
        (STOCK_API_TOKEN, "secret"),
        (REDIS_PASSWORD, "secret"),
    ] {
        let config = with(variable, value).unwrap();
        assert!(!format!("{:?}", config.effective()).contains("secret"), "{variable}");
        assert!(shown(&config, variable).0.unwrap().contains("***"));
    }
    let config = with(REDLOCK_NODES, "redis://a?pass=secret,redis://b/0?password=se,cret&x=secret").unwrap();
    assert_eq!(shown(&config, REDLOCK_NODES).0.unwrap(), "redis://a,redis://b/0");
}

#[test]
fn what_others_can_reach_needs_a_token() {
    let open = [(STOCK_BIND, "0.0.0.0:8080")];
    let config = with_flags(&Flags::new(), &open).unwrap();
    let message = config.service.check_exposure().unwrap_err().to_string();
    for part in [STOCK_BIND, "0.0.0.0:8080", STOCK_API_TOKEN] {
        assert!(message.contains(part), "{message}");
    }
    let guarded = |token| with_flags(&Flags::new(), &[(STOCK_BIND, "0.0.0.0:8080"), (STOCK_API_TOKEN, token)]);
    assert!(guarded("sixteen-letters.").unwrap().service.check_exposure().is_ok());
    let message = guarded("fifteen-letters").unwrap().service.check_exposure().unwrap_err().to_string();
    for part in [STOCK_API_TOKEN, "15 characters", "16 are needed"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("fifteen"), "{message}");
    assert!(with(STOCK_BIND, "[::1]:1").unwrap().service.check_exposure().is_ok());
}
