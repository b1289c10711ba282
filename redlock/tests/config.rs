//! Every mistake in a configuration is an error of its own, with its value.

use std::time::Duration;

use redlock::{Builder, ConfigError, Redlock, SimNode, TtlProblem};

use crate::support::{SECOND, millis};

fn one() -> Builder {
    Redlock::builder().node(SimNode::new("one"))
}

fn refusal(builder: Builder) -> ConfigError {
    builder.build().expect_err("it is refused")
}

#[test]
fn no_nodes() {
    assert_eq!(refusal(Redlock::builder()), ConfigError::NoNodes);
    assert_eq!(refusal(Redlock::builder().nodes(Vec::<String>::new())), ConfigError::NoNodes);
}

#[test]
fn the_same_server_twice_names_both_whoever_logs_in() {
    let twice = ["redis://10.0.0.1:7000", "redis://10.0.0.2", "redis://me:pw@10.0.0.1:7000/2"];
    let error = refusal(Redlock::builder().nodes(twice));
    let (first, second) = ("redis://10.0.0.1:7000".to_owned(), "redis://10.0.0.1:7000".to_owned());
    assert_eq!(error, ConfigError::DuplicateNode { first, second });
    let error = refusal(one().node(SimNode::new("one")));
    assert!(matches!(error, ConfigError::DuplicateNode { .. }), "{error}");
}

#[test]
fn unreadable_urls_are_named_without_password() {
    let error = refusal(Redlock::builder().nodes(["redis://me:s3cret@host:port"]));
    assert!(matches!(&error, ConfigError::InvalidUrl { url, .. } if url.contains("host:port")));
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
}

#[test]
fn ttls() {
    let zero = refusal(one().ttl(Duration::ZERO));
    let problem = TtlProblem::NotAboveDrift { drift: millis(2) };
    assert_eq!(zero, ConfigError::InvalidTtl { ttl: Duration::ZERO, problem });
    let drift = refusal(one().ttl(millis(2)));
    assert!(matches!(drift, ConfigError::InvalidTtl { ttl, .. } if ttl == millis(2)));
    let below = refusal(one().ttl(10 * SECOND).max_ttl(9 * SECOND));
    let (max_ttl, ttl) = (9 * SECOND, 10 * SECOND);
    assert_eq!(below, ConfigError::MaxTtlBelowTtl { max_ttl, ttl });
    let long = refusal(one().ttl(Duration::MAX));
    assert!(matches!(long, ConfigError::MaxTtlTooLong { .. }), "{long}");
}

#[test]
fn the_rest() {
    for factor in [-0.1, 0.6, f64::NAN, f64::INFINITY] {
        let error = refusal(one().drift_factor(factor));
        assert!(matches!(error, ConfigError::InvalidDriftFactor { .. }), "{error}");
    }
    let error = refusal(one().node_timeout(Duration::ZERO));
    assert_eq!(error, ConfigError::InvalidNodeTimeout { timeout: Duration::ZERO });
    for owner in ["line\nbreak", "é", &"x".repeat(129)] {
        let error = refusal(one().owner(owner));
        assert!(matches!(error, ConfigError::InvalidOwner { .. }), "{error}");
    }
    let error = refusal(one().key_prefix("redlock:fence:"));
    assert!(matches!(error, ConfigError::InvalidKeyPrefix { .. }), "{error}");
}

#[test]
fn building_needs_no_runtime_and_no_node() {
    let redlock = Redlock::builder().nodes(["redis://me:s3cret@192.0.2.1:1"]).build().unwrap();
    assert!(!format!("{redlock:?}").contains("s3cret"));
}
