"""What bench_serving.py measured, as a table of both languages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from bench.lib.pages import markdown_table

HEADS = {"en": "| what | measured |", "zh": "| 项目 | 实测 |"}
ROWS = {  # what was measured, and figures by their names in the results
    "en": (
        (
            "`rec_image` of an opened PNG",
            "{rec_image_ms:.2f} ms: decoding {decoding_ms:.2f}, feeding {feeding_ms:.2f}, "
            "{mflop:.0f} MFLOP forward {forward_ms:.2f}; with the graph as it was trained "
            "{unfrozen_ms:.2f} ms",
        ),
        (
            "`predict` on 500 images",
            "{predict_rate:,.0f} a second, {predict_share:.0%} of the matrix product's peak; "
            "decoding included {predict_decoding_share:.0%} of that",
        ),
        (
            "start",
            "{start_s:.1f} s until it listens, the first answer {first_ms:.0f} ms later",
        ),
        (
            "one client, connection kept",
            "{one_client_ms:.1f} ms",
        ),
        (
            "waitress, 16 connections",
            "{waitress_16:,.0f} a second, {waitress_share:.0%} of an empty route that reads the "
            "upload; 99 % within {waitress_16_p99_ms:.0f} ms",
        ),
        (
            "waitress, 160 connections",
            "{waitress_160:,.0f} a second; 99 % within {waitress_160_p99_ms:.0f} ms",
        ),
        (
            "gunicorn, 16 connections",
            "{gunicorn_16:,.0f} a second, {gunicorn_share:.0%} of an empty route; 99 % within "
            "{gunicorn_16_p99_ms:.0f} ms",
        ),
        (
            "gunicorn, 160 connections",
            "{gunicorn_160:,.0f} a second; 99 % within {gunicorn_160_p99_ms:.0f} ms",
        ),
        (
            "nginx before gunicorn",
            "{nginx_16:,.0f} a second with 16 connections, {nginx_160:,.0f} with 160; 99 % "
            "within {nginx_16_p99_ms:.0f} and {nginx_160_p99_ms:.0f} ms",
        ),
        (
            "gunicorn, each image recognised alone",
            "{gunicorn_alone_16:,.0f} a second with 16 connections, {gunicorn_alone_160:,.0f} "
            "with 160",
        ),
        (
            "waitress, {soak:,.0f} requests in a row",
            "{soak_mb:.0f} MB of memory of its own, grown by {soak_growth_mb:.1f} MB (without "
            "oneDNN, which keeps some 5 MB for each new size of batch in each thread, by "
            "{soak_plain_growth_mb:.1f} MB); 99 % within "
            "{soak_first_p99_ms:.0f} ms first, {soak_last_p99_ms:.0f} ms last",
        ),
        (
            "ddddocr on the same images",
            "{ddddocr_ms:.1f} ms, {ddddocr_right:.1%} right; ours {ours_ms:.1f} ms, "
            "{ours_right:.1%}",
        ),
    ),
    "zh": (
        (
            "对打开的 PNG 调用 `rec_image`",
            "{rec_image_ms:.2f} 毫秒：解码 {decoding_ms:.2f}，输入 {feeding_ms:.2f}，{mflop:.0f} "
            "MFLOP 前向计算 {forward_ms:.2f}；用训练时的计算图为 {unfrozen_ms:.2f} 毫秒",
        ),
        (
            "对 500 张图片调用 `predict`",
            "每秒 {predict_rate:,.0f} 张，为矩阵乘法峰值的 "
            "{predict_share:.0%}；计入解码时，速度为前者的 {predict_decoding_share:.0%}",
        ),
        (
            "启动",
            "{start_s:.1f} 秒后开始监听，再过 {first_ms:.0f} 毫秒得到第一个结果",
        ),
        (
            "一个客户端，保持连接",
            "{one_client_ms:.1f} 毫秒",
        ),
        (
            "waitress，16 个连接",
            "每秒 {waitress_16:,.0f} 次，为只读取上传内容的空路由的 {waitress_share:.0%}；99 % "
            "在 {waitress_16_p99_ms:.0f} 毫秒内",
        ),
        (
            "waitress，160 个连接",
            "每秒 {waitress_160:,.0f} 次；99 % 在 {waitress_160_p99_ms:.0f} 毫秒内",
        ),
        (
            "gunicorn，16 个连接",
            "每秒 {gunicorn_16:,.0f} 次，为空路由的 {gunicorn_share:.0%}；99 % 在 "
            "{gunicorn_16_p99_ms:.0f} 毫秒内",
        ),
        (
            "gunicorn，160 个连接",
            "每秒 {gunicorn_160:,.0f} 次；99 % 在 {gunicorn_160_p99_ms:.0f} 毫秒内",
        ),
        (
            "nginx 在 gunicorn 之前",
            "16 个连接每秒 {nginx_16:,.0f} 次，160 个连接每秒 {nginx_160:,.0f} 次；99 % 在 "
            "{nginx_16_p99_ms:.0f} 和 {nginx_160_p99_ms:.0f} 毫秒内",
        ),
        (
            "gunicorn，每张图片单独识别",
            "16 个连接每秒 {gunicorn_alone_16:,.0f} 次，160 个连接每秒 {gunicorn_alone_160:,.0f} "
            "次",
        ),
        (
            "waitress，连续 {soak:,.0f} 次请求",
            "进程自身占用内存 {soak_mb:.0f} MB，增长 {soak_growth_mb:.1f} MB（oneDNN 为每个线程中"
            "每种新的批大小保留约 5 MB；不用 oneDNN 时增长 {soak_plain_growth_mb:.1f} MB）；"
            "99 % 开始时在 {soak_first_p99_ms:.0f} 毫秒内，最后在 {soak_last_p99_ms:.0f} 毫秒内",
        ),
        (
            "ddddocr 识别同样的图片",
            "{ddddocr_ms:.1f} 毫秒，{ddddocr_right:.1%} 正确；本项目 {ours_ms:.1f} 毫秒，"
            "{ours_right:.1%}",
        ),
    ),
}


def table(language: str, results: Mapping[str, float]) -> str:
    """Return the rows whose figures are all there, as a Markdown table."""
    return markdown_table(HEADS[language], _lines(ROWS[language], results))


def _lines(rows: Sequence[tuple[str, str]], results: Mapping[str, float]) -> Iterator[str]:
    for title, figures in rows:
        with suppress(KeyError):
            yield f"| {title.format(**results)} | {figures.format(**results)} |"
