//! `squall token`: makes a token, and the lines of configuration that make a gateway accept it.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::cli::TokenArgs;
use crate::exit::Exit;

/// Prints a new token, once, and its hash, which is all that a gateway keeps.
pub(crate) fn token(args: &TokenArgs) -> anyhow::Result<Exit> {
    let mut random = [0_u8; 32];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random)).context("/dev/urandom")?;
    let token = format!("squall_{}", hex(&random));
    let scopes = args.scopes.iter().map(|scope| format!("{scope:?}")).collect::<Vec<_>>().join(", ");
    println!("# The token, shown this once. Callers send it as: Authorization: Bearer <token>");
    println!("# {token}");
    println!();
    println!("[[auth.tokens]]");
    println!("name = {:?}", args.name);
    println!("sha256 = {:?}", hex(&Sha256::digest(token.as_bytes())));
    println!("tenant = {:?}", args.tenant);
    println!("scopes = [{scopes}]");
    Ok(Exit::OK)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
