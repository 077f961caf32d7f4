"""Expressions as flat lists, which pickle without recursion however long a chain is.

A recipe has one entry per node, inputs first: the operation, the places of its inputs, and the grid.
Memoised results stay behind: they belong to the process that computed them.
"""

from __future__ import annotations

from chunkarr.graph import Node, Op, topological
from chunkarr.grid import Grid

__all__ = ["Recipe", "flatten_recipe", "rebuild"]

Recipe = list[tuple[Op, tuple[int, ...], Grid]]


def flatten_recipe(root: Node) -> Recipe:
    """Return every node below ``root`` once, inputs first, ``root`` last."""
    order = topological([root], lambda _: False)
    place = {id(node): index for index, node in enumerate(order)}
    return [(node.op, tuple(place[id(i)] for i in node.inputs), node.grid) for node in order]


def rebuild(recipe: Recipe) -> Node:
    """Return the root of the expression that ``recipe`` was made of."""
    nodes: list[Node] = []
    for op, places, grid in recipe:
        nodes.append(Node(op, [nodes[p] for p in places], grid))
    return nodes[-1]
