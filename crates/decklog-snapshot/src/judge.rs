//! Deciding which of the files that differ are recorded.

use crate::limits::Budget;
use crate::listing::{Candidate, Known, Listing};
use crate::names::secrets_in_names;
use crate::private::as_path;
use crate::scan::{Clean, Glance, Inspector, Verdict, glance};
use crate::{FileScanner, SnapshotError, Withheld, WithheldReason};

/// Looks at the files of the listing, all of them before the first is read, and returns those to
/// be recorded. Those found gone are moved to `listing.gone`, the others to `withheld`.
pub(crate) fn judge(
    listing: &mut Listing,
    inspector: &mut Inspector,
    scan: &mut dyn FileScanner,
    budget: &mut Budget<'_>,
    withheld: &mut Vec<Withheld>,
) -> Result<Vec<(Candidate, Clean)>, SnapshotError> {
    let mut refused: Vec<(Candidate, WithheldReason)> = Vec::new();
    let mut small = Vec::new();
    let paths = listing.present.iter().map(|candidate| candidate.path.as_slice());
    let named = secrets_in_names(inspector.prefix(), paths, scan);
    for (candidate, named) in listing.present.drain(..).zip(named) {
        if let Some(reason) = named {
            withheld.push(Withheld { path: candidate.path.clone(), reason });
            // Nor does an entry of an earlier snapshot stay, which would hold the name.
            listing.gone.push(candidate.path);
            continue;
        }
        let path = inspector.root().join(as_path(&candidate.path));
        match glance(&path, budget.limits().max_file_bytes) {
            Glance::Content { bytes } => {
                budget.bytes(inspector.root(), bytes)?;
                small.push(candidate);
            }
            // Only a repository is told as a change of the file that was here.
            Glance::Directory => {
                let reason = WithheldReason::NestedRepository;
                withheld.push(Withheld { path: candidate.path.clone(), reason });
                listing.gone.push(candidate.path);
            }
            Glance::Gone => listing.gone.push(candidate.path),
            Glance::Withheld(reason) => refused.push((candidate, reason)),
        }
    }
    let mut clean = Vec::new();
    for candidate in small {
        match inspector.inspect(&candidate.path, scan) {
            Verdict::Clean(judged) => clean.push((candidate, judged)),
            Verdict::Gone => listing.gone.push(candidate.path),
            Verdict::Withheld(reason) => refused.push((candidate, reason)),
        }
    }
    for (candidate, reason) in refused {
        // A conflict cannot be written as a tree, and neither side of it is what is there.
        if candidate.known == Known::Conflict {
            listing.gone.push(candidate.path.clone());
        }
        withheld.push(Withheld { path: candidate.path, reason });
    }
    Ok(clean)
}
