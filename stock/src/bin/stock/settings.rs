//! Settings as flags: one for each, made of the same list that everything else about them is made of.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use stock::config::{Config, ConfigError, Flags, STOCK_CONFIG, STOCK_MIGRATE, Setting};

const HEADING: &str = "Settings (each also as a variable, and in the configuration file)";

/// Switches migration off; shorter than the setting.
const NO_MIGRATE: &str = "no-migrate";

/// What was given as flags.
#[derive(Debug, Clone)]
pub(crate) struct Settings(Flags);

impl Settings {
    /// With what the environment and the file say.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.0)
    }
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(STOCK_CONFIG).long("config").value_name("FILE").help_heading(HEADING);
        let help = format!("A TOML file with settings: their names as flags, with underscores [{STOCK_CONFIG}]");
        let no_migrate = Arg::new(NO_MIGRATE).long(NO_MIGRATE).action(ArgAction::SetTrue).help_heading(HEADING);
        let command = command.arg(file.help(help)).arg(
            no_migrate.conflicts_with(STOCK_MIGRATE).help("The same as --migrate off: `stock migrate` is run apart"),
        );
        Setting::ALL.iter().fold(command, |command, setting| {
            let default = match setting.default {
                "" => String::new(),
                default => format!(" (default: {default})"),
            };
            let help = format!("{}{default} [{}]", setting.help, setting.variable);
            command.arg(
                Arg::new(setting.variable).long(setting.flag()).value_name("VALUE").help_heading(HEADING).help(help),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags::new();
        for name in Setting::ALL.iter().map(|setting| setting.variable).chain([STOCK_CONFIG]) {
            if let Some(value) = matches.get_one::<String>(name) {
                flags.insert(name, value.clone());
            }
        }
        if matches.get_flag(NO_MIGRATE) {
            flags.insert(STOCK_MIGRATE, "off".to_owned());
        }
        Ok(Self(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
