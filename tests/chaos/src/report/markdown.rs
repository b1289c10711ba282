//! The report for people.

use std::fmt::Write as _;

use super::Report;

pub(super) fn write(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = fill(&mut page, report);
    page
}

fn fill(page: &mut String, report: &Report) -> std::fmt::Result {
    let Report { scenario, about, seed, seconds, done, per_second, .. } = report;
    writeln!(page, "# {scenario}, seed {seed}: {}\n", if report.passed() { "passed" } else { "FAILED" })?;
    writeln!(page, "{about}.\n")?;
    if let Some(bug) = &report.bug {
        writeln!(page, "Planted bug: `{bug}`.\n")?;
    }
    writeln!(page, "{done} done in {seconds:.1} s ({per_second:.0}/s). Again: `{}`\n", report.replay)?;
    writeln!(page, "![faults and throughput](timeline.svg)\n")?;
    writeln!(page, "| invariant | |\n|---|---|")?;
    for invariant in &report.invariants {
        let held = if invariant.broken.is_empty() {
            "held".to_owned()
        } else {
            format!("broken {} times", invariant.broken.len())
        };
        writeln!(page, "| {} | {held} |", invariant.name)?;
    }
    writeln!(page)?;
    for violation in report.violations() {
        writeln!(page, "- **{violation}**")?;
    }
    for note in &report.notes {
        writeln!(page, "- {note}")?;
    }
    writeln!(page, "\n| fault | from | to |\n|---|---:|---:|")?;
    for fault in &report.faults {
        writeln!(page, "| {} | {:.2} s | {:.2} s |", fault.name, fault.from, fault.to)?;
    }
    Ok(())
}
