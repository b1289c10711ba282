//! `redlock preflight`: what every node is, and whether it votes.

use redlock::{NodeInfo, NodePreflight, Role};
use serde_json::{Value, json};

use crate::options;
use crate::output::{self, Output};
use crate::settings::Urls;
use crate::status::{Failure, OK};

pub(crate) async fn preflight(options: &options::Preflight, output: Output) -> Result<u8, Failure> {
    let redlock = Urls::read(&options.nodes)?.manager(&options.nodes, |builder| builder)?;
    let preflight = redlock.preflight().await;
    let quorum = preflight.has_quorum();
    output.answer(
        || preflight.to_string(),
        || {
            json!({
                "quorum": quorum,
                "nodes": preflight.nodes.iter().map(node).collect::<Vec<_>>(),
                "warnings": preflight.warnings,
            })
        },
    );
    if quorum { Ok(OK) } else { Err(Failure::unavailable("no quorum of lock nodes votes")) }
}

fn node(node: &NodePreflight) -> Value {
    json!({
        "node": node.node,
        "votes": node.info.is_ok() && node.barred.is_none(),
        "barred": node.barred.as_ref().map(output::cause),
        "error": node.info.as_ref().err().map(output::node_failure),
        "info": node.info.as_ref().ok().and_then(Option::as_ref).map(info),
    })
}

fn info(info: &NodeInfo) -> Value {
    json!({
        "run_id": info.run_id,
        "version": info.version,
        "role": if info.role == Role::Master { "master" } else { "replica" },
        "cluster": info.cluster,
        "uptime_seconds": info.uptime_seconds,
        "append_only": info.append_only,
        "eviction": info.eviction,
        "clock_ahead_ms": info.clock_ahead_ms,
    })
}
