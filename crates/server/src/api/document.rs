//! What every operation of the API may answer besides what its own description says, added to the document once, so
//! that no operation forgets it: the refusals of the extractors and of what is around all routes.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{HttpMethod, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder};

const PROBLEM: &str = "#/components/schemas/ProblemBody";
const PROBLEM_TYPE: &str = "application/problem+json";

/// Adds the common answers and gives error bodies their content type.
pub(super) fn complete(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for (method, operation) in operations(item) {
            for (status, description) in common(&method, operation) {
                let known = operation.responses.responses.entry(status.to_owned());
                known.or_insert_with(|| RefOr::T(problem(description)));
            }
            operation.responses.responses.values_mut().for_each(name_type);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let all = [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Patch, &mut item.patch),
        (HttpMethod::Delete, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn common(method: &HttpMethod, operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let mut answers = vec![("503", "the metadata database can't be used now")];
    if *method != HttpMethod::Get {
        answers.push(("403", "asked for by another site"));
    }
    if has(operation, &ParameterIn::Path) {
        answers.push(("404", "no such thing"));
    }
    if has(operation, &ParameterIn::Query) || has(operation, &ParameterIn::Header) {
        answers.push(("400", "a parameter can't be read"));
    }
    if operation.request_body.is_some() {
        answers.extend([
            ("400", "the body is no JSON, or holds a value that can't be stored"),
            ("408", "the body came too slowly"),
            ("413", "the body is too large"),
            ("415", "the body is not said to be JSON"),
            ("422", "the body has another form"),
        ]);
    }
    answers
}

fn has(operation: &Operation, place: &ParameterIn) -> bool {
    let is = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(found) if found.parameter_in == *place);
    operation.parameters.iter().flatten().any(is)
}

fn problem(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::new(PROBLEM))).build();
    ResponseBuilder::new().description(description).content(PROBLEM_TYPE, body).build()
}

/// An error body is `application/problem+json`.
fn name_type(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    let is_problem = |content: &RefOr<utoipa::openapi::Content>| {
        matches!(content, RefOr::T(content)
            if matches!(&content.schema, Some(RefOr::Ref(schema)) if schema.ref_location == PROBLEM))
    };
    if response.content.get("application/json").is_some_and(is_problem)
        && let Some(content) = response.content.shift_remove("application/json")
    {
        response.content.insert(PROBLEM_TYPE.to_owned(), content);
    }
}
