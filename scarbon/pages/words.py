"""What the books' own terms are called on a page: groupings, methods, kinds of factors, where a factor comes from."""

from __future__ import annotations

from accounting.factors import SourceShare
from scarbon.pages.languages import Language

HOST_GROUP = "(host)"  # what `--by gpu-model` calls energy that no GPU drew


def by_word(language: Language, by: str) -> str:
    """What the groups are, over their names."""
    if by.startswith("tag:"):
        return language.text("Tag %(name)s", name=by.removeprefix("tag:"))
    words = {
        "account": language.text("Account"),
        "user": language.text("User"),
        "partition": language.text("Partition"),
        "qos": language.text("QOS"),
        "wckey": language.text("WCKey"),
        "cluster": language.text("Cluster"),
        "gpu-model": language.text("GPU model"),
        "tag": language.text("Tags"),
    }
    return words.get(by, by)


def title(language: Language, by: str) -> str:
    """What the page is."""
    if by.startswith("tag:"):
        return language.text("Energy and emissions by the tag %(name)s", name=by.removeprefix("tag:"))
    words = {
        "account": language.text("Energy and emissions by account"),
        "user": language.text("Energy and emissions by user"),
        "partition": language.text("Energy and emissions by partition"),
        "qos": language.text("Energy and emissions by QOS"),
        "wckey": language.text("Energy and emissions by WCKey"),
        "cluster": language.text("Energy and emissions by cluster"),
        "gpu-model": language.text("Energy and emissions by GPU model"),
        "tag": language.text("Energy and emissions by tags"),
    }
    return words.get(by) or language.text("Energy and emissions")


def group_name(language: Language, by: str, key: str | None) -> str:
    """A group's name, which is the site's own word."""
    if key is None or not key.strip():
        return language.text("(none)")
    if by == "gpu-model" and key == HOST_GROUP:
        return language.text("CPUs, memory and the rest of the nodes")
    return key


def kind_word(language: Language, kind: str) -> str:
    """The GPUs, or the rest of the nodes."""
    return language.text("GPUs") if kind == "gpu" else language.text("Rest of the nodes")


def method_word(language: Language, kind: str, method: str) -> str:
    """How the energy of GPUs (kind: gpu) or of the rest of the nodes (host) was found."""
    words = {
        ("gpu", "counter"): language.text("the GPUs’ energy counters"),
        ("gpu", "power"): language.text("the GPUs’ power readings, integrated"),
        ("gpu", "slurm"): language.text("Slurm’s energy accounting"),
        ("gpu", "model"): language.text("rated power × time"),
        ("host", "counter"): language.text("the nodes’ energy counters"),
        ("host", "power"): language.text("the nodes’ power readings, integrated"),
        ("host", "slurm"): language.text("Slurm’s energy accounting"),
        ("host", "model"): language.text("a model of the allocated cores and memory"),
    }
    return words.get((kind, method), method)


def factor_word(language: Language, kind: str) -> str:
    """What a factor is: pue, location or market."""
    words = {
        "pue": language.text("PUE"),
        "location": language.text("Grid intensity, location-based"),
        "market": language.text("Grid intensity, market-based"),
    }
    return words.get(kind, kind)


def source_words(language: Language, one: SourceShare) -> str:
    """Who gave a factor, on which basis, and how much of it is estimated."""
    words = [language.text("declared by the site") if one.source == "site.yaml" else one.source]
    if one.basis and one.basis not in one.source:
        bases = {"life cycle": language.text("life cycle"), "direct": language.text("direct emissions")}
        words.append(bases.get(one.basis, one.basis))
    if one.share < 1:
        words.append(language.text("%(share)s of the time", share=language.share(one.share)))
    if one.estimated_share:
        words.append(language.text("%(share)s estimated", share=language.share(one.estimated_share)))
    return ", ".join(words)
