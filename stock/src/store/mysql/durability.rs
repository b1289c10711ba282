//! Whether a server still has what it has committed after it, or its machine, has failed.

use sqlx::Row as _;
use sqlx::mysql::MySqlPool;

use crate::store::StoreError;

/// When the log of InnoDB, and the binary log, if there is one, are brought to the disk.
const QUESTION: &str = "SELECT CAST(@@innodb_flush_log_at_trx_commit AS SIGNED), CAST(@@log_bin AS SIGNED), \
     CAST(@@sync_binlog AS SIGNED)";

/// The settings that let it forget.
pub(super) async fn forgetful_settings(pool: &MySqlPool) -> Result<Vec<String>, StoreError> {
    let row = sqlx::query(QUESTION).fetch_one(pool).await?;
    Ok(judge(row.try_get(0)?, row.try_get::<i64, _>(1)? != 0, row.try_get(2)?))
}

fn judge(flush_log: i64, log_bin: bool, sync_binlog: i64) -> Vec<String> {
    let mut forgetful = Vec::new();
    // MariaDB's 3 syncs once more than 1 does.
    if !matches!(flush_log, 1 | 3) {
        forgetful.push(format!("innodb_flush_log_at_trx_commit is {flush_log}, durable is 1"));
    }
    // With a binary log, what is missing there after a crash is rolled back.
    if log_bin && sync_binlog != 1 {
        forgetful.push(format!("sync_binlog is {sync_binlog}, durable is 1"));
    }
    forgetful
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_flushed_later_is_forgotten() {
        assert!(judge(1, true, 1).is_empty());
        assert!(judge(3, false, 0).is_empty(), "without a binary log nobody needs it");
        assert_eq!(judge(2, false, 0), ["innodb_flush_log_at_trx_commit is 2, durable is 1"]);
        assert_eq!(judge(0, true, 100).len(), 2);
    }
}
