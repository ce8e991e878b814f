//! Certificates made by openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const ELLIPTIC: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// A test authority, a certificate for a server named `localhost`, and one for a client named `certified`.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes all three with an ECDSA signature of the given hash (`sha256`, `sha384`).
    pub(crate) fn make(hash: &str) -> Self {
        let certificates = Self { folder: tempfile::tempdir().unwrap() };
        let digest = format!("-{hash}");
        let authority = ["req", "-x509", &digest, "-days", "30", "-subj", "/CN=Test CA", "-keyout", "ca.key"];
        certificates.openssl(&[&authority[..], &["-out", "ca.crt"], &ELLIPTIC].concat());
        certificates.sign("server", "server", "subjectAltName=DNS:localhost", &digest);
        certificates.sign("client", "certified", "extendedKeyUsage=clientAuth", &digest);
        certificates
    }

    /// A server's certificate for `localhost` that is its own authority, signed with RSASSA-PSS and SHA-384.
    pub(crate) fn self_signed() -> Self {
        let certificates = Self { folder: tempfile::tempdir().unwrap() };
        let request =
            ["req", "-x509", "-sha384", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=server"];
        let padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
        let rest = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "server.key", "-out", "server.crt"];
        certificates.openssl(&[&request[..], &padding, &rest].concat());
        fs::copy(certificates.path("server.crt"), certificates.path("ca.crt")).unwrap();
        certificates
    }

    /// One of the files (`ca.crt`, `client.crt`, `client.key`) as PEM.
    pub(crate) fn pem(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Puts the server's certificate and key, and the authority for its clients, into a data folder.
    pub(crate) fn install(&self, data: &Path) {
        for name in ["server.crt", "server.key", "ca.crt"] {
            fs::copy(self.path(name), data.join(name)).unwrap();
            fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    fn sign(&self, name: &str, common_name: &str, extension: &str, digest: &str) {
        let [key, request, certificate] = ["key", "csr", "crt"].map(|kind| format!("{name}.{kind}"));
        let subject = format!("/CN={common_name}");
        self.openssl(&[&["req", "-subj", &subject, "-keyout", &key, "-out", &request][..], &ELLIPTIC].concat());
        fs::write(self.path("extensions"), format!("{extension}\nbasicConstraints=CA:FALSE\n")).unwrap();
        let authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions"];
        let sign = ["x509", "-req", digest, "-days", "30", "-in", &request, "-out", &certificate];
        self.openssl(&[&sign[..], &authority].concat());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
    }
}
