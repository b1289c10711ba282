//! Every kind of node keeps the same rules.

use redlock::node::suite::conformance;
use redlock::{RedisNode, SimNetwork, SimNode};

use crate::support::millis;

#[tokio::test]
async fn redis_node() {
    let server = testkit::shared_redis(1).await.unwrap().remove(0);
    conformance(RedisNode::open(&server.url()).unwrap()).await;
}

#[tokio::test]
async fn redis_node_over_resp3() {
    let server = testkit::shared_redis(1).await.unwrap().remove(0);
    let url = format!("{}?protocol=resp3", server.url());
    conformance(RedisNode::open(&url).unwrap()).await;
}

#[tokio::test]
async fn redis_node_by_the_callers_own_factory() {
    let server = testkit::shared_redis(1).await.unwrap().remove(0);
    let url = server.url();
    let node = RedisNode::from_factory("mine", move || {
        let url = url.clone();
        async move {
            let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
            let client = redis::Client::open(url)?;
            client.get_multiplexed_async_connection_with_config(&config).await
        }
    });
    conformance(node).await;
}

#[tokio::test]
async fn sim_node() {
    conformance(SimNode::new("sim")).await;
}

/// Without this the rules would only hold where nothing is ever under way.
#[tokio::test]
async fn sim_node_over_a_slow_network() {
    let slow = SimNetwork::new().latency(millis(0)..=millis(3)).duplication(0.2);
    conformance(SimNode::new("sim").over(slow, 7)).await;
}
