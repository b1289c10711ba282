//! `stock config`: every setting, its value, and where that comes from.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::json;
use stock::config::Config;

/// Prints them; secrets are masked.
pub(crate) fn show(config: &Config, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let settings = config.effective().iter().map(|effective| {
            let (source, place) = (effective.source.word(), effective.place());
            let (name, flag) = (effective.setting.variable, format!("--{}", effective.setting.flag()));
            json!({ "name": name, "flag": flag, "value": effective.value, "source": source, "from": place })
        });
        println!("{}", serde_json::to_string_pretty(&settings.collect::<Vec<_>>())?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["setting", "value", "from"]);
    for effective in config.effective() {
        let value = effective.value.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([effective.setting.variable.to_owned(), value, effective.place()]);
    }
    println!("{table}");
    Ok(())
}
