"""Everything this library refuses, one class for each reason."""


class TlogError(Exception):
    """The root of the library's errors; the message says in one line what is wrong."""


class TreeError(TlogError, ValueError):
    """A range of the tree was described in a way that cannot be."""


class TileError(TlogError, ValueError):
    """The bytes or the path are not those of a tile or entry bundle."""


class TileMismatchError(TlogError):
    """A well-formed tile or entry is not the one in the signed tree."""


class ProofError(TlogError):
    """A Merkle proof does not hold."""


class IndexOutOfRangeError(ProofError):
    """The leaf index is not below the tree size, or a size or index is negative."""


class SizeOrderError(ProofError):
    """The older tree is said to be larger than the newer one."""


class EmptyTreeError(ProofError):
    """A consistency proof from the empty tree: every tree extends it, so such a proof says nothing."""


class HashLengthError(ProofError):
    """A leaf hash, root or proof element is not 32 bytes long."""


class ProofLengthError(ProofError):
    """The proof has more or fewer hashes than index and sizes demand."""


class RootMismatchError(ProofError):
    """The proof leads to another root."""


class NoteError(TlogError):
    """A signed note was refused."""


class MalformedNoteError(NoteError):
    """The bytes are not a signed note as C2SP signed-note describes it."""


class InvalidSignatureError(NoteError):
    """A known key's signature does not verify."""


class UnverifiedNoteError(NoteError):
    """No signature is by a known key."""


class KeyFormatError(NoteError, ValueError):
    """A verifier key (``name+hash+key``) or a signer's seed is malformed."""


class CheckpointError(TlogError):
    """A note is validly signed but its text is not a checkpoint, or not the one expected."""


class ProofFormatError(TlogError):
    """The bytes are not a c2sp.org/tlog-proof@v1 file."""


class EntryError(TlogError):
    """A line is not an entry in canonical form.

    ``code`` is ``size`` or ``format``.
    """

    def __init__(self, code: str, message: str) -> None:
        """Keep the code beside the message."""
        super().__init__(message)
        self.code = code


class ReceiptError(TlogError):
    """A receipt does not prove what it says."""


class RotationError(TlogError):
    """A rotation of the checkpoint key is not one, or does not continue the history of keys before it."""
