//! Writes the OpenAPI document of the API to standard output.

fn main() -> Result<(), serde_json::Error> {
    let text = wavemark_server::openapi().to_pretty_json()?;
    println!("{text}");
    Ok(())
}
