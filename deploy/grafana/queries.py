"""PromQL and panels that several dashboards share."""

from deploy.grafana.panels import Panel, Query

INSTANCE = 'instance=~"$instance"'


def rate(metric: str, by: str = "", where: str = INSTANCE) -> str:
    """Return a counter's rate per second, summed over all labels except `by`."""
    grouped = f"sum by ({by})" if by else "sum"
    selector = f"{metric}{{{where}}}" if where else metric
    return f"{grouped} (rate({selector}[$__rate_interval]))"


def quantiles(metric: str, where: str = INSTANCE) -> list[Query]:
    """Return the median, 95th and 99th percentile of a histogram."""
    return [
        Query(f"histogram_quantile({q}, {rate(f'{metric}_bucket', 'le', where)})", f"p{q * 100:g}")
        for q in (0.5, 0.95, 0.99)
    ]


def connections_cut(job: str) -> Panel:
    """Return the panel of closed connections, for processes with clients."""
    return Panel(
        "Connections closed",
        "cps",
        "Clients that were too slow, sent too much, or were too many.",
        [
            Query(
                rate("merganser_http_connections_cut_total", "reason", f'job="{job}", {INSTANCE}'),
                "{{reason}}",
            )
        ],
    )


def forgotten(job: str) -> Panel:
    """Return the panel of forgotten people, for processes that store events."""
    selector = f'job="{job}", {INSTANCE}'
    return Panel(
        "Events of erased people",
        "eps",
        "Suppressed: not stored. Unlinked: another user's event, stored without the anonymousId.",
        [
            Query(rate("merganser_events_suppressed_total", "", selector), "suppressed"),
            Query(rate("merganser_events_unlinked_total", "", selector), "unlinked"),
        ],
    )


def process(job: str) -> list[Panel]:
    """Return the last panels of every process's dashboard: checks, version, CPU and memory."""
    selector = f'job="{job}", {INSTANCE}'
    return [
        Panel(
            "Failing checks",
            "short",
            "1 while a check or warning of /readyz fails; /readyz of the instance says why.",
            [
                Query(
                    f"max by (instance, check) (merganser_check_failing{{{selector}}})",
                    "{{instance}} {{check}}",
                )
            ],
        ),
        Panel(
            "Versions",
            "short",
            "Instances by version. More than one version is normal only during an upgrade.",
            [Query(f"count by (version) (merganser_build_info{{{selector}}})", "{{version}}")],
            stacked=True,
        ),
        Panel(
            "CPU",
            "short",
            "Cores in use. A process uses one core, and a little more inside libraries.",
            [
                Query(
                    rate("process_cpu_seconds_total", "instance", selector),
                    "{{instance}}",
                )
            ],
        ),
        Panel(
            "Memory",
            "bytes",
            "Resident memory.",
            [Query(f"process_resident_memory_bytes{{{selector}}}", "{{instance}}")],
        ),
    ]
