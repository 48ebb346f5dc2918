/**
 * A file to download, made while it is read. `page` gives the rows after `before`, and
 * where to go on; null at the end. A page that finds nothing need not be the last.
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
      // Until there is something to hand on.
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
