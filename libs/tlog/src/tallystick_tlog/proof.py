"""Inclusion and consistency proofs of RFC 9162 §2.1.3 and §2.1.4: plan, assemble, verify.

Leaves live in a database, so making a proof has three steps: *plan* which perfect subtrees each proof element is made
of, let the caller fetch all their hashes at once, and *assemble* the proof from them.
"""

from collections.abc import Mapping, Sequence

from tallystick_tlog.errors import (
    EmptyTreeError,
    HashLengthError,
    IndexOutOfRangeError,
    ProofLengthError,
    RootMismatchError,
    SizeOrderError,
)
from tallystick_tlog.hashing import HASH_BYTES, node_hash
from tallystick_tlog.tree import NodeId, fold_ragged, perfect_subtrees


def plan_inclusion(index: int, size: int) -> list[list[NodeId]]:
    """Plan the proof that leaf ``index`` is in the tree of ``size`` leaves.

    Returns:
        For each proof element, from the leaf's sibling up, the perfect subtrees whose hashes fold into it.

    Raises:
        IndexOutOfRangeError: not ``0 <= index < size``.

    """
    if not 0 <= index < size:
        message = f"leaf {index} is not in a tree of {size}"
        raise IndexOutOfRangeError(message)
    elements: list[list[NodeId]] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            elements.append(perfect_subtrees(middle, high))
            high = middle
        else:
            elements.append(perfect_subtrees(low, middle))
            low = middle
    elements.reverse()
    return elements


def plan_consistency(size1: int, size2: int) -> list[list[NodeId]]:
    """Plan the proof that the tree of ``size2`` leaves extends the one of ``size1``; equal sizes need no hashes.

    Raises:
        EmptyTreeError: ``size1`` is 0.
        SizeOrderError: ``size1`` is above ``size2``, or negative.

    """
    _check_sizes(size1, size2)
    elements: list[list[NodeId]] = []
    low, high = 0, size2
    whole = True  # the subtree [low, size1) is the whole old tree, whose root the verifier has
    while size1 != high:
        middle = low + _split(high - low)
        if size1 <= middle:
            elements.append(perfect_subtrees(middle, high))
            high = middle
        else:
            elements.append(perfect_subtrees(low, middle))
            low, whole = middle, False
    if not whole:
        elements.append(perfect_subtrees(low, high))
    elements.reverse()
    return elements


def assemble_proof(plan: Sequence[Sequence[NodeId]], hashes: Mapping[NodeId, bytes]) -> list[bytes]:
    """Fold the fetched subtree hashes into the proof's elements.

    Raises:
        KeyError: a planned node is missing from ``hashes``.

    """
    return [fold_ragged([hashes[node] for node in element]) for element in plan]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the 32-byte leaf hash stands at ``index`` in the tree of ``size`` leaves (RFC 9162 §2.1.3.2).

    Raises:
        ProofError: it does not; the subclass says why.

    """
    _check_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        message = f"leaf {index} is not in a tree of {size}"
        raise IndexOutOfRangeError(message)
    node, last = index, size - 1
    result = leaf
    for sibling in proof:
        if last == 0:
            message = f"{len(proof)} hashes are too many for leaf {index} of {size}"
            raise ProofLengthError(message)
        if node % 2 or node == last:
            result = node_hash(sibling, result)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        message = f"{len(proof)} hashes are too few for leaf {index} of {size}"
        raise ProofLengthError(message)
    if result != root:
        message = f"leaf {index} of {size} does not lead to the root"
        raise RootMismatchError(message)


def verify_consistency(size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes) -> None:
    """Check that the tree (size2, root2) extends (size1, root1) by adding leaves only (RFC 9162 §2.1.4.2).

    For equal sizes the proof is empty and the roots are equal. From the empty tree there is no proof.

    Raises:
        ProofError: it does not; the subclass says why.

    """
    _check_sizes(size1, size2)
    _check_hashes(root1, root2, *proof)
    expected = len(plan_consistency(size1, size2))
    if len(proof) != expected:
        message = f"a consistency proof from {size1} to {size2} has {expected} hashes, not {len(proof)}"
        raise ProofLengthError(message)
    if size1 == size2:
        _check_root(root1, root2, size2)
        return
    path = list(proof)
    if size1 & (size1 - 1) == 0:
        path.insert(0, root1)
    node, last = size1 - 1, size2 - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for item in path[1:]:
        if node % 2 or node == last:
            old, new = node_hash(item, old), node_hash(item, new)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, item)
        node, last = node >> 1, last >> 1
    _check_root(old, root1, size1)
    _check_root(new, root2, size2)


def _split(size: int) -> int:
    """Give the largest power of two below ``size`` (RFC 9162 §2.1.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_sizes(size1: int, size2: int) -> None:
    if not 0 <= size1 <= size2:
        message = f"a tree of {size1} leaves cannot grow into one of {size2}"
        raise SizeOrderError(message)
    if size1 == 0:
        message = "a consistency proof from the empty tree says nothing"
        raise EmptyTreeError(message)


def _check_hashes(*hashes: bytes) -> None:
    for item in hashes:
        if len(item) != HASH_BYTES:
            message = f"a hash has {len(item)} bytes instead of {HASH_BYTES}"
            raise HashLengthError(message)


def _check_root(computed: bytes, root: bytes, size: int) -> None:
    if computed != root:
        message = f"the proof does not lead to the root of {size} leaves"
        raise RootMismatchError(message)
