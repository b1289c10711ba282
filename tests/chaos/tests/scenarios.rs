//! Every scenario once, with a seed that does not change: what must hold does. `cargo xtask chaos` runs them with other
//! seeds, and for longer.

#![allow(missing_docs, reason = "a test's name says what it shows")]
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

use std::path::PathBuf;

use chaos::Settings;

/// Where reports go, in whatever folder the build results are.
fn reports() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("chaos")
}

async fn holds(name: &str) {
    let scenario = chaos::find(name).unwrap();
    scenario.available().unwrap();
    let settings = Settings::new(1, env!("CARGO_BIN_EXE_chaos").into(), reports());
    let report = chaos::run(scenario, &settings).await.unwrap();
    println!("{report}");
    assert!(report.passed(), "{report}");
}

macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                holds($name).await;
            }
        )*

        #[test]
        fn every_scenario_has_its_test() {
            let tested = [$($name),*];
            for scenario in chaos::scenarios() {
                assert!(tested.contains(&scenario.name), "{} is not tested", scenario.name);
            }
        }
    };
}

scenarios! {
    lock_killed: "lock-killed",
    lock_forgetful: "lock-forgetful",
    lock_hung: "lock-hung",
    lock_majority: "lock-majority",
    lock_slow: "lock-slow",
    lock_partition: "lock-partition",
    lock_cut_off: "lock-cut-off",
    lock_clients: "lock-clients",
    lock_clocks: "lock-clocks",
    container_lock: "lock-containers",
    interop: "interop",
    stock_headline: "stock-headline",
    stock_nodes: "stock-nodes",
    stock_cut_off: "stock-cut-off",
    stock_database: "stock-database",
    stock_cut: "stock-cut",
    stock_commit: "stock-commit",
    stock_holds: "stock-holds",
    stock_resident: "stock-resident",
    stock_forgetful: "stock-forgetful",
    stock_paused: "stock-paused",
    stock_stale: "stock-stale",
    stock_mixed: "stock-mixed",
    stock_clocks: "stock-clocks",
    container_stock: "stock-containers",
    alone_load: "load",
}
