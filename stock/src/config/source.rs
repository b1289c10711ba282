//! Where values come from, and which of them counts.

use std::collections::BTreeMap;
use std::env::{self, VarError};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use super::error::ConfigError;
use super::setting::{STOCK_CONFIG, Setting};

/// Values given as flags, by the name of their variable.
pub type Flags = BTreeMap<&'static str, String>;

/// Where a value was given. Those before count more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In the configuration file.
    File {
        /// The file, as it was named.
        path: Arc<str>,
        /// The line of the value's key, counted from 1.
        line: usize,
    },
    /// Nowhere.
    Default,
}

impl Source {
    /// In one word: flag, env, file or default.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "env",
            Self::File { .. } => "file",
            Self::Default => "default",
        }
    }
}

/// A value in force, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Which setting.
    pub setting: &'static Setting,
    /// Its value, with secrets masked; `None` for none.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

impl Effective {
    /// Where to change it: `flag --bind`, `env STOCK_BIND`, `stock.toml:3`, or `default`.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.source {
            Source::Flag => format!("flag --{}", self.setting.flag()),
            Source::Environment => format!("env {}", self.setting.variable),
            Source::File { path, line } => format!("{path}:{line}"),
            Source::Default => "default".to_owned(),
        }
    }
}

/// The environment of this process.
pub(super) fn environment(variable: &'static str) -> Result<Option<String>, ConfigError> {
    match env::var(variable) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(value)) => {
            Err(refused(variable, Source::Environment, &value.to_string_lossy(), "it is not UTF-8".into()))
        }
    }
}

/// Every value that is set.
#[derive(Debug)]
pub(super) struct Values(BTreeMap<&'static str, (String, Source)>);

impl Values {
    /// The flags, else the environment, else the file that one of them names. An empty value is none.
    pub(super) fn collect(
        flags: &Flags,
        environment: impl Fn(&'static str) -> Result<Option<String>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let is_set = |value: &String| !value.is_empty();
        let named = match flags.get(STOCK_CONFIG).cloned() {
            Some(path) => Some((path, Source::Flag)),
            None => environment(STOCK_CONFIG)?.filter(is_set).map(|path| (path, Source::Environment)),
        };
        let mut file = named.map(|(path, source)| read_file(&path, &source)).transpose()?.unwrap_or_default();
        let mut values = BTreeMap::new();
        for setting in &Setting::ALL {
            let variable = setting.variable;
            let given = match flags.get(variable).cloned() {
                Some(value) => Some((value, Source::Flag)),
                None => environment(variable)?.filter(is_set).map(|value| (value, Source::Environment)),
            };
            let given = given.or_else(|| file.remove(&setting.key()));
            if let Some(given) = given.filter(|(value, _)| is_set(value)) {
                values.insert(variable, given);
            }
        }
        Ok(Self(values))
    }

    /// The text that is set.
    pub(super) fn text(&self, variable: &'static str) -> Option<&str> {
        self.0.get(variable).map(|(value, _)| value.as_str())
    }

    /// What `parse` makes of the value, if one is set. It says why not, and what is allowed.
    pub(super) fn parse<T>(
        &self,
        variable: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((value, source)) = self.0.get(variable) else { return Ok(None) };
        parse(value).map(Some).map_err(|reason| refused(variable, source.clone(), value, reason))
    }

    /// The value, if one is set.
    pub(super) fn parse_as<T>(&self, variable: &'static str) -> Result<Option<T>, ConfigError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.parse(variable, |value| value.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// A whole number.
    pub(super) fn number<T>(
        &self,
        variable: &'static str,
        default: T,
        allowed: RangeInclusive<T>,
    ) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let (least, most) = (allowed.start(), allowed.end());
        let parse = |value: &str| {
            let number = value.parse().ok().filter(|number| allowed.contains(number));
            number.ok_or_else(|| format!("allowed are {least} to {most}"))
        };
        Ok(self.parse(variable, parse)?.unwrap_or(default))
    }

    /// On or off.
    pub(super) fn switch(&self, variable: &'static str, default: bool) -> Result<bool, ConfigError> {
        let parse = |value: &str| match value {
            "on" | "true" | "1" => Ok(true),
            "off" | "false" | "0" => Ok(false),
            _ => Err("allowed are on and off".to_owned()),
        };
        Ok(self.parse(variable, parse)?.unwrap_or(default))
    }

    /// An error about the value of a variable that can be read by itself.
    pub(super) fn refuse(&self, variable: &'static str, reason: impl Into<String>) -> ConfigError {
        let (value, source) =
            self.0.get(variable).map_or(("", Source::Default), |(value, source)| (value, source.clone()));
        refused(variable, source, value, reason.into())
    }

    /// Everything, with what is in force where nothing is set.
    pub(super) fn effective(&self) -> Vec<Effective> {
        const ALL: &[Setting] = &Setting::ALL;
        let effective = |setting: &'static Setting| match self.0.get(setting.variable) {
            Some((value, source)) => Effective { setting, value: Some(setting.shown(value)), source: source.clone() },
            None => {
                let value = Some(setting.default).filter(|value| !value.is_empty()).map(str::to_owned);
                Effective { setting, value, source: Source::Default }
            }
        };
        ALL.iter().map(effective).collect()
    }
}

fn refused(variable: &'static str, origin: Source, value: &str, reason: String) -> ConfigError {
    let value = Setting::of(variable).map_or_else(|| value.to_owned(), |setting| setting.shown(value));
    ConfigError { variable, origin, value, reason }
}

/// The values of a TOML file, as texts, and where each stands: one table, in which lists stand for what is separated by
/// commas.
fn read_file(path: &str, origin: &Source) -> Result<BTreeMap<String, (String, Source)>, ConfigError> {
    let wrong = |reason: String| refused(STOCK_CONFIG, origin.clone(), path, reason);
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let line_of = |byte: usize| text[..byte].matches('\n').count() + 1;
    // The parser's own message quotes the line, in which there may be a password.
    let unreadable = |error: toml::de::Error| {
        let line = error.span().map_or(0, |span| line_of(span.start));
        wrong(format!("it is no TOML near line {line}: {}", error.message()))
    };
    let table: toml::Table = text.parse().map_err(unreadable)?;
    let places = toml::de::DeTable::parse(&text).map_err(unreadable)?;
    let lines: BTreeMap<&str, usize> =
        places.get_ref().keys().map(|key| (&**key.get_ref(), line_of(key.span().start))).collect();
    let path: Arc<str> = path.into();
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let line = lines.get(&*key).copied().unwrap_or_default();
        if !Setting::ALL.iter().any(|setting| setting.key() == key) {
            let keys: Vec<_> = Setting::ALL.iter().map(Setting::key).collect();
            return Err(wrong(format!("line {line}: the key `{key}` is unknown; allowed are {}", keys.join(", "))));
        }
        let text = text_of(&value)
            .ok_or_else(|| wrong(format!("line {line}: `{key}` is neither a text, a number, a switch nor a list")))?;
        values.insert(key, (text, Source::File { path: path.clone(), line }));
    }
    Ok(values)
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(is_on) => Some(if *is_on { "on" } else { "off" }.to_owned()),
        toml::Value::Array(items) => Some(items.iter().map(text_of).collect::<Option<Vec<_>>>()?.join(",")),
        _ => None,
    }
}
