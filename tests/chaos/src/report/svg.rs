//! Faults against throughput, over time: bars of what was done in each quarter of a second, and below them a band for
//! each fault.

use std::fmt::Write as _;

use super::Report;
use crate::clock::seconds;
use crate::record::History;

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 60.0;
const BARS: f64 = 200.0;
const TOP: f64 = 30.0;
const BAND: f64 = 16.0;
const QUARTER: f64 = 0.25;

pub(super) fn draw(report: &Report, history: &History) -> String {
    let mut picture = String::new();
    // Writing to a string cannot fail.
    let _ = fill(&mut picture, report, history);
    picture
}

fn fill(picture: &mut String, report: &Report, history: &History) -> std::fmt::Result {
    let length = report.seconds.max(QUARTER);
    let x = |second: f64| LEFT + second / length * (WIDTH - LEFT - 10.0);
    let bands = u32::try_from(report.faults.len()).map_or(0.0, f64::from);
    let floor = TOP + BARS;
    let height = floor + 30.0 + bands * BAND;
    writeln!(
        picture,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">"#
    )?;
    writeln!(picture, r##"<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##)?;
    let verdict = if report.passed() { "passed" } else { "FAILED" };
    writeln!(
        picture,
        r#"<text x="{LEFT}" y="18" font-size="14">{}, seed {}: {verdict}</text>"#,
        report.scenario, report.seed
    )?;
    for fault in &report.faults {
        let width = (x(fault.to) - x(fault.from)).max(1.0);
        let from = x(fault.from);
        writeln!(picture, r##"<rect x="{from:.1}" y="{TOP}" width="{width:.1}" height="{BARS}" fill="#fde8e8"/>"##)?;
    }
    bars(picture, report, history, x)?;
    let mut y = floor + 24.0;
    for fault in &report.faults {
        let (from, width) = (x(fault.from), (x(fault.to) - x(fault.from)).max(2.0));
        let middle = y + BAND - 5.0;
        writeln!(
            picture,
            r##"<rect x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{}" fill="#d9534f"/>"##,
            BAND - 4.0
        )?;
        // Beside its band: on the left where there is no room on the right.
        let (at, anchor) = if from + width > WIDTH * 0.7 { (from - 4.0, "end") } else { (from + width + 4.0, "start") };
        writeln!(picture, r#"<text x="{at:.1}" y="{middle:.1}" text-anchor="{anchor}">{}</text>"#, fault.name)?;
        y += BAND;
    }
    writeln!(picture, "</svg>")
}

fn bars(picture: &mut String, report: &Report, history: &History, x: impl Fn(f64) -> f64) -> std::fmt::Result {
    let mut quarters: Vec<u64> = Vec::new();
    for (at, done) in &history.done {
        let mut quarter = 0;
        let mut end = QUARTER;
        while end <= seconds(history.started, *at) {
            (quarter, end) = (quarter + 1, end + QUARTER);
        }
        if quarters.len() <= quarter {
            quarters.resize(quarter + 1, 0);
        }
        quarters[quarter] += done;
    }
    let most = quarters.iter().copied().max().unwrap_or(0).max(1);
    let share = |done: u64| u32::try_from(done).map_or(1.0, f64::from) / u32::try_from(most).map_or(1.0, f64::from);
    let floor = TOP + BARS;
    let mut from = 0.0;
    for done in quarters {
        let (left, right, height) = (x(from), x(from + QUARTER), share(done) * (BARS - 10.0));
        let (y, width) = (floor - height, (right - left - 0.5).max(0.5));
        writeln!(
            picture,
            r##"<rect x="{left:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="#4a7ebb"/>"##
        )?;
        from += QUARTER;
    }
    writeln!(picture, r#"<text x="4" y="{:.1}">{}/s</text>"#, TOP + 14.0, most * 4)?;
    let (end, label) = (x(report.seconds), format!("{:.0} s", report.seconds));
    writeln!(picture, r##"<line x1="{LEFT}" y1="{floor}" x2="{end:.1}" y2="{floor}" stroke="#333"/>"##)?;
    writeln!(picture, r#"<text x="{LEFT}" y="{:.1}">0 s</text>"#, floor + 14.0)?;
    writeln!(picture, r#"<text x="{end:.1}" y="{:.1}" text-anchor="end">{label}</text>"#, floor + 14.0)
}
