/**
 * A CSV file to download, streamed as the client reads. `page` returns rows, and as `next` the cursor for the next call,
 * null after the last page. A page without rows need not be the last.
 */
export function csvDownload(
  name: string,
  head: string,
  page: (before: string | undefined) => Promise<{ rows: readonly string[]; next: string | null }>,
): Response {
  const encoder = new TextEncoder();
  let before: string | undefined;
  let begun = false;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (!begun) {
        begun = true;
        return controller.enqueue(encoder.encode(head));
      }
      // A pull has to enqueue something or close the stream, so pages without rows are skipped.
      for (;;) {
        const { rows, next } = await page(before);
        if (rows.length > 0) controller.enqueue(encoder.encode(rows.join("")));
        if (next === null) return controller.close();
        before = next;
        if (rows.length > 0) return;
      }
    },
  });
  return new Response(body, {
    headers: {
      "content-type": "text/csv; charset=utf-8",
      "content-disposition": `attachment; filename="${name}-${new Date().toISOString().slice(0, 10)}.csv"`,
      "cache-control": "private, no-store",
    },
  });
}
