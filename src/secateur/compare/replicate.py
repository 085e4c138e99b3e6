"""One seed of a comparison in a graph of runs: what the arms have in common, each made once.

The unpruned network, its pruning from one budget to the next, and the network that copycat takes its profile
from are one chain; arms add their own runs to it, or beside it.
"""

from __future__ import annotations

from collections.abc import Callable

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.compare.comparison import Comparison
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.records.record import Record
from secateur.runs.graph import Graph, Made, Node, NotMadeError
from secateur.runs.prune_channels import PruneChannels, Target
from secateur.runs.run import Run
from secateur.runs.train import Train
from secateur.training.recipe import Recipe


class Replicate:
    """The runs of one seed, as nodes of a graph."""

    def __init__(self, question: Comparison, graph: Graph, seed: int):
        self.question, self.graph, self.seed = question, graph, seed
        self.settings = question.settings
        self._own: dict[tuple[str, str], Node] = {}

    def label(self, what: str, budget: Budget) -> str:
        """Name a run for people."""
        return f"{what} {budget} seed {self.seed}"

    def once(self, what: str, budget: Budget | None, add: Callable[[], Node]) -> Node:
        """Add a node where it is not there yet."""
        key = (what, budget.text if budget else "")
        if key not in self._own:
            self._own[key] = add()
        return self._own[key]

    def train(self, architecture: Architecture, recipe: Recipe, label: str) -> Train:
        """The run that trains a network, from scratch if it comes with no weights."""
        return Train(
            architecture=architecture,
            data=self.question.data,
            recipe=recipe,
            seed=self.seed,
            label=label,
            terms=self.settings.terms,
            teacher=self.teacher(recipe),
        )

    def teacher(self, recipe: Recipe) -> Run | None:
        """The run of the network that the others learn from, the unpruned one, where the recipe says so."""
        return self.dense().run if recipe.distills else None

    def dense(self) -> Node:
        """The unpruned network, which learns from nobody."""
        label = f"{self.question.name} seed {self.seed}"
        run = self.train(self.question.architecture, self.question.recipe.undistilled(), label)
        return self.once("dense", None, lambda: self.graph.add(run))

    def pruned_to(self, budget: Budget) -> Node:
        """The network pruned to the budget; on the way to the next one, so each waits for that before."""
        budgets = self.question.budgets
        position = budgets.index(budget)

        def add() -> Node:
            before = self.pruned_to(budgets[position - 1]) if position else self.dense()
            done = self.pruning_estimate(budgets[position - 1]) if position else 0
            compute = self.pruning_estimate(budget) - done
            label = self.label("fisher-tuned", budget)
            return self.graph.add(self._prune(self.question.target(budget), label, compute), [before])

        return self.once("pruned", budget, add)

    def profile(self) -> Node:
        """The first network of the trajectory that has lost as many channels as copycat's profile has."""
        return self.once("profile", None, self._add_profile)

    def _add_profile(self) -> Node:
        removals = self.question.copycat_after
        label = f"copycat profile seed {self.seed}"
        compute = 0 if self.question.prunes else self.pruning_estimate(self.question.budgets[0])
        further = self._prune(Target(removals=removals), label, compute)
        if not self.question.prunes:
            return self.graph.add(further, [self.dense()])
        pruned = [self.pruned_to(budget) for budget in self.question.budgets]

        def settle(made: Made) -> PruneChannels:
            finished = [node for node in pruned if made.has(node)]  # all of one trajectory: any will do
            for node in finished:
                if len(made.record(node).removed or ()) >= removals:
                    run = made.run(node)
                    assert isinstance(run, PruneChannels)
                    return run
            if len(finished) < len(pruned):
                raise NotMadeError(label)
            return further

        return self.graph.add_later(label, settle, pruned, compute)

    def _prune(self, target: Target, label: str, compute: float) -> PruneChannels:
        return PruneChannels(
            architecture=self.question.architecture,
            data=self.question.data,
            recipe=self.question.recipe,
            seed=self.seed,
            label=label,
            settings=self.settings.prune,
            target=target,
            about=compute,
            terms=self.settings.terms,
        )

    def pruning_estimate(self, budget: Budget) -> int:
        """Training MACs of pruning to the budget, were the channels taken evenly from all groups."""
        whole, small = self.question.architecture, self.question.evenly(budget)
        removals = sum(whole.widths) - sum(small.widths)
        examples = (removals + 1) * self.settings.prune.every * self.question.recipe.batch_size
        macs = TRAINING_MACS_PER_INFERENCE_MAC * ((whole.macs + small.macs) // 2)
        return (macs + self.question.teacher_macs) * examples

    def spent_at(self, budget: Budget, made: Made) -> int:
        """Training MACs that fisher-tuned took for the budget."""
        return made.record(self.dense()).train_compute + made.record(self.pruned_to(budget)).train_compute

    def spent_about(self, budget: Budget) -> float:
        """The same before it is known."""
        return self.dense().compute + self.pruning_estimate(budget)

    def found_after(self, record: Record, removals: int, made: Made) -> int:
        """Training MACs that led to the first `removals` removals of a pruned network."""
        return made.record(self.dense()).train_compute + sum(
            (TRAINING_MACS_PER_INFERENCE_MAC * removal.macs + self.question.teacher_macs) * removal.examples
            for removal in (record.removed or ())[:removals]
        )

    def profile_architecture(self, made: Made) -> Architecture:
        """The network as wide as it was after copycat's number of removals."""
        removed = (made.record(self.profile()).removed or ())[: self.question.copycat_after]
        gone = [removal.group for removal in removed]
        whole = self.question.architecture
        widths = [
            width - gone.count(name) for name, width in zip(whole.group_names(), whole.widths, strict=True)
        ]
        return whole.with_widths(widths)


class OnTrajectory(Replicate):
    """The runs of one seed whose architectures another seed's trajectory gives; it prunes nothing itself.

    Args:
        leader: whose network was pruned. It teaches, too, where the question's recipe says so.
        name: of what tells these runs from the leader's, for people.
    """

    def __init__(self, question: Comparison, leader: Replicate, seed: int, name: str = ""):
        super().__init__(question, leader.graph, seed)
        self.leader, self.name = leader, name

    def label(self, what: str, budget: Budget) -> str:
        return super().label(f"{what} {self.name}".rstrip(), budget)

    def dense(self) -> Node:
        return self.leader.dense()

    def pruned_to(self, budget: Budget) -> Node:
        return self.leader.pruned_to(budget)

    def profile(self) -> Node:
        return self.leader.profile()

    def found_after(self, record: Record, removals: int, made: Made) -> int:
        return self.leader.found_after(record, removals, made)
