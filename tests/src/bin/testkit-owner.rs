//! A process that owns servers and ends badly; `tests/nothing_left.rs` starts it and looks at what it leaves behind.

use testkit::{RedisServer, SqlServer, StartError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    match std::env::args().nth(1).as_deref() {
        Some("storm") => storm().await,
        #[cfg(feature = "containers")]
        Some("container") => {
            let server = SqlServer::container_mysql9().await?;
            println!("ready");
            std::future::pending::<()>().await;
            drop(server);
            Ok(())
        }
        ending => servers(ending).await,
    }
}

/// Starts servers until it is killed, most likely in the middle of a start.
async fn storm() -> Result<(), StartError> {
    println!("ready");
    let mut servers = Vec::new();
    loop {
        servers.extend(RedisServer::fleet(4).await?);
    }
}

/// Has a server in every state there is, and then ends, or waits to be ended.
async fn servers(ending: Option<&str>) -> Result<(), StartError> {
    let servers = RedisServer::fleet(3).await?;
    let sql = SqlServer::start().await?;
    let paused = servers[1].pause().await;
    let killed = servers[2].kill().await;
    assert!(paused.is_ok() && killed.is_ok(), "{paused:?} {killed:?}");
    println!("ready");
    match ending {
        Some("abort") => std::process::abort(),
        Some("exit") => std::process::exit(0),
        _ => std::future::pending::<()>().await,
    }
    drop((servers, sql));
    Ok(())
}
