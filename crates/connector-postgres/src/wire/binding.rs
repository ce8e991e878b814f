//! The channel binding `tls-server-end-point` (RFC 5929 §4.1; manual: sasl-authentication).

use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier};
use x509_cert::der::{Any, Decode, Reader, TagMode, TagNumber};
use x509_cert::spki::AlgorithmIdentifierOwned;

const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// The hash of a server's certificate, made with the hash function of the certificate's own signature.
///
/// MD5 and SHA-1 are replaced by SHA-256, as the RFC says. `None` for a signature without a hash function of its
/// own (Ed25519) or with one that isn't known here: then there is no such binding.
pub(super) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm;
    let oid = if algorithm.oid == RSA_PSS { pss_hash(algorithm.parameters.as_ref())? } else { algorithm.oid };
    Some(match oid.to_string().as_str() {
        // MD5, SHA-1, SHA-256: with RSA, with ECDSA, alone.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2"
        | "1.3.14.3.2.26"
        | "2.16.840.1.101.3.4.2.1" => Sha256::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => {
            Sha384::digest(certificate).to_vec()
        }
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => {
            Sha512::digest(certificate).to_vec()
        }
        _ => return None,
    })
}

/// The hash function of an RSASSA-PSS signature (RFC 4055 §3.1): the first parameter, SHA-1 if left out.
fn pss_hash(parameters: Option<&Any>) -> Option<ObjectIdentifier> {
    let sha1 = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
    let Some(parameters) = parameters else { return Some(sha1) };
    let hash = parameters.sequence(|reader| {
        let hash = reader.context_specific::<AlgorithmIdentifierOwned>(TagNumber::N0, TagMode::Explicit)?;
        while !reader.is_finished() {
            AnyRef::decode(reader)?;
        }
        Ok(hash)
    });
    Some(hash.ok()?.map_or(sha1, |hash| hash.oid))
}
