"""The builder, proofs and verifiers against a naive recursive reading of RFC 9162."""

from dataclasses import astuple
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_tlog import (
    CompactRange,
    EmptyTreeError,
    HashLengthError,
    IndexOutOfRangeError,
    NodeId,
    ProofLengthError,
    RootMismatchError,
    SizeOrderError,
    TreeError,
    assemble_proof,
    fold_perfect,
    leaf_hash,
    node_hash,
    perfect_subtrees,
    plan_consistency,
    plan_inclusion,
    stored_span,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(b"%d" % number) for number in range(600)]
sizes = st.integers(1, 600)


def naive_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = naive_split(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(size: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    if size == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if size <= k:
        return [*naive_subproof(size, leaves[:k], whole=whole), naive_root(leaves[k:])]
    return [*naive_subproof(size - k, leaves[k:], whole=False), naive_root(leaves[:k])]


def fetch(plan: list[list[NodeId]]) -> dict[NodeId, bytes]:
    """Do what a ledger does: read stored levels only (0, 8, …) and fold them."""
    hashes = {}
    for node in (node for element in plan for node in element):
        level, first, count = astuple(stored_span(node))
        assert level % 8 == 0
        assert count <= 128
        stored = [naive_root(LEAVES[index << level : (index + 1) << level]) for index in range(first, first + count)]
        hashes[node] = fold_perfect(stored)
    return hashes


@given(st.lists(st.integers(0, 40), max_size=20))
def test_extending_in_any_steps_gives_the_naive_root(steps: list[int]) -> None:
    tree, done = CompactRange(), 0
    for step in steps:
        tree = tree.extend(LEAVES[done : done + step])
        done = min(done + step, len(LEAVES))
        assert tree.root() == naive_root(LEAVES[:done])
        assert tree.size == done


def test_appending_one_by_one_gives_the_naive_root() -> None:
    tree = CompactRange()
    assert tree.root() == naive_root([])
    for count, leaf in enumerate(LEAVES[:130], start=1):
        tree = tree.append(leaf)
        assert tree.root() == naive_root(LEAVES[:count])


@given(st.lists(st.integers(0, 600), min_size=2, max_size=8).map(sorted))
def test_adjacent_ranges_merge_into_the_range_built_at_once(bounds: list[int]) -> None:
    parts = [CompactRange(low, low).extend(LEAVES[low:high]) for low, high in pairwise(bounds)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert merged == CompactRange(bounds[0], bounds[0]).extend(LEAVES[bounds[0] : bounds[-1]])
    expected = [naive_root(LEAVES[n.index << n.level : (n.index + 1) << n.level]) for n, _ in merged.nodes()]
    assert list(merged.hashes) == expected
    from_zero = CompactRange().extend(LEAVES[: bounds[0]]).merge(merged)
    assert from_zero.root() == naive_root(LEAVES[: bounds[-1]])


@given(st.integers(0, 2**61), st.integers(0, 2**61))
def test_perfect_subtrees_cover_the_range_without_gap_and_are_few(start: int, size: int) -> None:
    at = start
    nodes = perfect_subtrees(start, start + size)
    for node in nodes:
        assert node.index << node.level == at
        at += 1 << node.level
    assert at == start + size
    assert len(nodes) <= 2 * size.bit_length()


@given(st.integers(0, 600), st.integers(0, 600))
def test_a_range_survives_its_bytes(start: int, end: int) -> None:
    start, end = sorted((start, end))
    tree = CompactRange(start, start).extend(LEAVES[start:end])
    data = tree.to_bytes()
    assert CompactRange.from_bytes(data) == tree
    for damaged in (data[:-1], data + b"\0", data + bytes(32), data[:15]):
        with pytest.raises(TreeError):
            CompactRange.from_bytes(damaged)


def test_ranges_that_cannot_be_are_refused() -> None:
    with pytest.raises(TreeError):
        perfect_subtrees(2, 1)
    with pytest.raises(TreeError):
        CompactRange(0, 3, (LEAVES[0],))
    with pytest.raises(TreeError):
        CompactRange(0, 1, (b"short",))
    with pytest.raises(TreeError):
        CompactRange(0, 1, (LEAVES[0],)).merge(CompactRange(2, 2))
    with pytest.raises(TreeError):
        CompactRange(1, 2, (LEAVES[0],)).root()
    for count in (0, 3):
        with pytest.raises(TreeError):
            fold_perfect(LEAVES[:count])


@given(sizes.flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))))
def test_inclusion_proofs_equal_the_naive_ones_and_verify(case: tuple[int, int]) -> None:
    index, size = case
    plan = plan_inclusion(index, size)
    proof = assemble_proof(plan, fetch(plan))
    assert proof == naive_path(index, LEAVES[:size])
    root = naive_root(LEAVES[:size])
    verify_inclusion(LEAVES[index], index, size, proof, root)
    with pytest.raises(RootMismatchError):
        verify_inclusion(node_hash(root, root), index, size, proof, root)
    with pytest.raises(ProofLengthError):
        verify_inclusion(LEAVES[index], index, size, [*proof, root], root)
    if proof:
        with pytest.raises(ProofLengthError):
            verify_inclusion(LEAVES[index], index, size, proof[:-1], root)
        with pytest.raises(HashLengthError):
            verify_inclusion(LEAVES[index], index, size, [proof[0][:-1], *proof[1:]], root)


@given(st.tuples(sizes, sizes).map(sorted))
def test_consistency_proofs_equal_the_naive_ones_and_verify(case: list[int]) -> None:
    size1, size2 = case
    plan = plan_consistency(size1, size2)
    proof = assemble_proof(plan, fetch(plan))
    assert proof == naive_subproof(size1, LEAVES[:size2], whole=True)
    root1, root2 = naive_root(LEAVES[:size1]), naive_root(LEAVES[:size2])
    verify_consistency(size1, size2, proof, root1, root2)
    other = node_hash(root1, root2)
    with pytest.raises(RootMismatchError):
        verify_consistency(size1, size2, proof, other, root2)
    with pytest.raises(RootMismatchError):
        verify_consistency(size1, size2, proof, root1, other)
    with pytest.raises(ProofLengthError):
        verify_consistency(size1, size2, [*proof, other], root1, root2)
    for position in range(len(proof)):
        with pytest.raises(RootMismatchError):
            verify_consistency(size1, size2, [*proof[:position], other, *proof[position + 1 :]], root1, root2)


def test_impossible_proofs_are_refused_by_name() -> None:
    root = LEAVES[0]
    for index, size in ((0, 0), (1, 1), (-1, 1)):
        with pytest.raises(IndexOutOfRangeError):
            plan_inclusion(index, size)
        with pytest.raises(IndexOutOfRangeError):
            verify_inclusion(root, index, size, [], root)
    with pytest.raises(SizeOrderError):
        verify_consistency(2, 1, [], root, root)
    with pytest.raises(EmptyTreeError):
        verify_consistency(0, 1, [], root, root)
