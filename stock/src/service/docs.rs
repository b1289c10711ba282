//! The description of the service, made of the handlers themselves, and a page to try it on.

use axum::Router;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::App;
use super::problem::ProblemBody;

/// What is said of the service as a whole.
const ABOUT: &str = "Inventory: what lies in which warehouse, and what it is bound to.\n\nErrors are \
    `application/problem+json` with a stable `code`. Numbers are whole and at most 2^53 − 1. Any change may carry a \
    `request_id`: asked again under the same id it is carried out once, and gets its first answer again.";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "stock", description = ABOUT),
    components(schemas(ProblemBody)),
    tags(
        (name = "stocks", description = "Records, and what was done with them"),
        (name = "operations", description = "Changes"),
        (name = "orders", description = "What orders hold"),
        (name = "room", description = "How the instance is"),
        (name = "service", description = "For whatever looks after it"),
    )
)]
struct Description;

/// What is said before any handler; with a token, that it is needed.
pub(super) fn description(needs_token: bool) -> OpenApi {
    let mut description = Description::openapi();
    if needs_token {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("token", bearer);
        description.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
    description
}

/// `/openapi.json`, and `/docs`, which asks no other host for anything.
pub(super) fn pages(description: OpenApi) -> Router<App> {
    let config = Config::default().validator_url("none").persist_authorization(true);
    SwaggerUi::new("/docs").url("/openapi.json", description).config(config).into()
}
