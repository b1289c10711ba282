//! Who may connect, how, and what is said when it does not work: per node, by name, no secrets.

use redlock::{Cause, LockError, NodeFailure, RedisNode, Redlock, Released, RestartGuard};
use testkit::RedisServer;
use tokio::net::TcpListener;

use crate::support::{SECOND, command, millis};

/// As the documentation of `RedisNode` has it.
const DOCUMENTED: &str = "~* &redlock:released:* +script|load +evalsha \
     +set +get +del +type +pttl +pexpire +publish +subscribe +unsubscribe +info +time";

fn url(server: &RedisServer, user: &str) -> String {
    format!("redis://{user}@{}", server.addr())
}

/// Patient with nodes, because tests share their cores.
fn unguarded() -> redlock::Builder {
    Redlock::builder().node_timeout(2 * SECOND).restart_guard(RestartGuard::Off)
}

/// What is wrong with the nodes, as soon as they have said so.
async fn failures(redlock: &Redlock) -> Vec<NodeFailure> {
    for _ in 0..10 {
        match redlock.try_lock("order:42").await {
            Err(LockError::Unavailable { nodes, .. }) if nodes.iter().all(|node| node.cause != Cause::Timeout) => {
                return nodes;
            }
            Err(LockError::Unavailable { .. }) => tokio::time::sleep(millis(500)).await,
            other => panic!("{other:?}"),
        }
    }
    panic!("no node says anything");
}

#[tokio::test]
async fn a_user_with_the_documented_commands_can_do_everything() {
    let server = RedisServer::start().await.unwrap();
    let rules: Vec<&str> = DOCUMENTED.split_whitespace().collect();
    let user = ["ACL", "SETUSER", "locks", "reset", "on", ">s3cret"];
    command(&server, &[&user[..], &rules[..]].concat()).await;
    let redlock = unguarded().nodes([url(&server, "locks:s3cret")]).build().unwrap();
    let guard = redlock.lock(["a", "b"]).await.unwrap();
    guard.extend(2 * SECOND).await.unwrap();
    let held = redlock.inspect("a").await.to_string();
    assert!(held.contains("held by"), "{held}");
    let refused = redlock.try_lock("a").await;
    assert!(matches!(refused, Err(LockError::Contended { .. })), "{refused:?}");
    let other = unguarded().nodes([url(&server, "locks:s3cret")]).build().unwrap();
    let listeners = async || format!("{:?}", command(&server, &["PUBSUB", "NUMSUB", "redlock:released:a"]).await);
    let nobody = listeners().await;
    let waiting = tokio::spawn(other.lock("a").into_future());
    testkit::eventually(5 * SECOND, async || listeners().await != nobody).await;
    assert_eq!(guard.release().await.unwrap(), Released::Released);
    drop(waiting.await.unwrap().unwrap());
    let denied = command(&server, &["ACL", "LOG"]).await;
    let asked = format!("{denied:?}");
    for needed in ["evalsha", "pttl", "publish", "pexpire", "script", "subscribe"] {
        assert!(!asked.contains(needed), "{needed} was denied: {asked}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_without_the_password() {
    let server = RedisServer::builder().arg("--requirepass").arg("right").start().await.unwrap();
    for user in [":wr0ng", "default:wr0ng", "nobody:wr0ng"] {
        let redlock = unguarded().nodes([url(&server, user)]).build().unwrap();
        let nodes = failures(&redlock).await;
        assert_eq!(nodes[0].cause, Cause::Auth, "{nodes:?}");
        assert_eq!(nodes[0].node, format!("redis://{}", server.addr()));
        assert!(!format!("{nodes:?} {redlock:?}").contains("wr0ng"), "{nodes:?}");
    }
    let redlock = unguarded().nodes([format!("redis://{}", server.addr())]).build().unwrap();
    assert_eq!(failures(&redlock).await[0].cause, Cause::Auth, "no password at all");
    let redlock = unguarded().nodes([url(&server, ":right")]).build().unwrap();
    redlock.lock("order:42").await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_not_redis_is_an_unexpected_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    let redlock = unguarded().nodes([format!("redis://{address}")]).build().unwrap();
    let nodes = failures(&redlock).await;
    assert_eq!(nodes[0].cause, Cause::Protocol, "{nodes:?}");
    assert_eq!(nodes[0].node, format!("redis://{address}"));
}

#[tokio::test]
async fn a_key_of_another_type_is_the_wrong_type_on_that_node_alone() {
    let servers = RedisServer::fleet(3).await.unwrap();
    let redlock = crate::support::connected(&servers).await;
    command(&servers[0], &["HSET", "order:42", "redisson", "1"]).await;
    let guard = redlock.lock("order:42").await.expect("two of three have it free");
    let inspection = redlock.inspect("order:42").await;
    let first = &inspection.nodes[0];
    assert!(matches!(&first.state, redlock::NodeState::Error(f) if f.cause == Cause::WrongType), "{first}");
    guard.extend(SECOND).await.unwrap();
    guard.release().await.unwrap();
    command(&servers[1], &["HSET", "order:42", "redisson", "1"]).await;
    let error = redlock.try_lock("order:42").await.unwrap_err();
    let LockError::Unavailable { nodes, .. } = &error else { panic!("{error:?}") };
    assert_eq!(nodes.len(), 2, "{error}");
    assert!(nodes.iter().all(|node| node.cause == Cause::WrongType), "{error}");
    assert_eq!(servers[0].keys("order:42").await, ["order:42"], "it is left alone");
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let path = socket.to_str().unwrap();
    let server = RedisServer::builder().arg("--unixsocket").arg(path).start().await.unwrap();
    let redlock = unguarded().nodes([format!("unix://{path}")]).build().unwrap();
    let guard = redlock.lock("order:42").await.unwrap();
    assert_eq!(server.keys("order:42").await, ["order:42"]);
    guard.release().await.unwrap();
}

/// A certificate for 127.0.0.1 and its key, as files in `folder`; it is its own authority.
fn certificate(folder: &std::path::Path) -> (String, String, Vec<u8>) {
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (pem, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("cert.pem"), &pem).unwrap();
    std::fs::write(path("key.pem"), key).unwrap();
    (path("cert.pem"), path("key.pem"), pem.into_bytes())
}

#[tokio::test]
async fn tls_takes_ones_own_certificates_and_refuses_strangers() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key, pem) = certificate(folder.path());
    let port = testkit::Port::draw().unwrap();
    let number = port.number().to_string();
    let tls = ["--tls-port", &number, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let more = ["--tls-auth-clients", "no"];
    let builder = tls.into_iter().chain(more).fold(RedisServer::builder(), |b, arg| b.arg(arg));
    let server = builder.start().await.unwrap();
    let url = format!("rediss://127.0.0.1:{number}");

    let stranger = unguarded().nodes([&url]).build().unwrap();
    let nodes = failures(&stranger).await;
    assert_eq!(nodes[0].node, url);
    assert!(nodes[0].detail.to_lowercase().contains("certificate"), "{nodes:?}");

    let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(pem) };
    let client = redis::Client::build_with_tls(url.as_str(), certificates).unwrap();
    let redlock = unguarded().node(RedisNode::from_client(client)).build().unwrap();
    let guard = redlock.lock("order:42").await.unwrap();
    assert_eq!(server.keys("order:42").await, ["order:42"]);
    guard.release().await.unwrap();
}
