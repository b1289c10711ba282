//! Bugs that can be planted in this process: suites that hunt for bugs must find each of them. And moments at which
//! tests stop the process, or hurt somebody else.
//!
//! Without the feature `failpoints` everything here is compiled away.

/// Whether the bug called `name` is planted.
#[cfg(feature = "failpoints")]
pub(crate) fn planted(name: &str) -> bool {
    fail::eval(name, |_| ()).is_some()
}

/// Never, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn planted(_name: &str) -> bool {
    false
}

/// A moment has come.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(name: &str) {
    let _ = fail::eval(name, |_| ());
}

/// Nothing happens, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn reached(_name: &str) {}

/// Plants what the environment names, for processes that nobody else can plant anything in: bugs in `STOCK_BUGS`,
/// separated by commas.
#[cfg(feature = "failpoints")]
pub(crate) fn plant() {
    let bugs = std::env::var("STOCK_BUGS").unwrap_or_default();
    for bug in bugs.split(',').filter(|bug| !bug.is_empty()) {
        // Refused are only actions that there are not.
        let _ = fail::cfg(bug, "return");
    }
}

/// Nothing can be planted, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn plant() {}

/// Loses what a request may leave behind: memory, a task, or a connection.
#[cfg(feature = "failpoints")]
pub(crate) fn leak() {
    if planted("service-leaks-memory") {
        // Written to, or it would take no room.
        std::mem::forget(vec![1_u8; 64 << 10]);
    }
    if planted("service-leaks-tasks") {
        tokio::spawn(std::future::pending::<()>());
    }
    // Few enough that it can go on for a while.
    if planted("service-leaks-connections") && rand::random_ratio(1, 16) {
        std::mem::forget(std::os::unix::net::UnixStream::pair());
    }
}

/// Nothing is lost, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn leak() {}

/// Until when this process sulks.
#[cfg(feature = "failpoints")]
static SULKS_UNTIL: std::sync::Mutex<Option<std::time::Instant>> = std::sync::Mutex::new(None);

/// The database took so long: where that was long, this process may take offence, and do nothing for a long time, whether
/// or not the trouble is over.
#[cfg(feature = "failpoints")]
pub(crate) fn offend(took: std::time::Duration) {
    if took > std::time::Duration::from_millis(500) && planted("redlocked-sulks") {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(12);
        *SULKS_UNTIL.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(until);
    }
}

/// Nobody is offended, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn offend(_took: std::time::Duration) {}

/// Waits until this process sulks no more.
#[cfg(feature = "failpoints")]
pub(crate) async fn sulk() {
    let until = *SULKS_UNTIL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(until) = until {
        tokio::time::sleep_until(until.into()).await;
    }
}

/// Goes on at once, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) async fn sulk() {}
