import { TRPCError } from "@trpc/server";
import type { NextRequest } from "next/server";
import { currentUser } from "#server/auth.ts";
import { database } from "#server/platform/db.ts";
import { caller } from "#server/trpc/caller.ts";
import { requestPage } from "#server/trpc/routers/usage.ts";
import { periodUntil } from "#server/usage/period.ts";
import { REQUESTS_HEAD, requestRow } from "#server/usage/requests-csv.ts";
import { filtersOf, logOf } from "../filters.ts";

const ROWS_AT_ONCE = 500;

/** Every request of an app that the log would show for the same address, newest first. */
export async function GET(request: NextRequest, { params }: { params: Promise<{ appId: string }> }): Promise<Response> {
  if ((await currentUser()) === null) return new Response("Sign in to download this list.\n", { status: 401 });
  let app: { id: string; name: string };
  try {
    app = await (await caller()).apps.get({ appId: (await params).appId });
  } catch (error) {
    if (error instanceof TRPCError && error.code === "NOT_FOUND") return new Response("There is no such app.\n", { status: 404 });
    throw error;
  }
  const { period, apiKeyId, ...rest } = {
    period: undefined,
    apiKeyId: undefined,
    ...logOf(filtersOf(Object.fromEntries(request.nextUrl.searchParams))),
  };
  const filter = {
    ...rest,
    ...(apiKeyId === undefined ? {} : { apiKeyId: apiKeyId === "tokens" ? null : apiKeyId }),
    appId: app.id,
    from: period === undefined ? undefined : periodUntil(period).from,
  };
  const db = await database();
  const encoder = new TextEncoder();
  let before: string | undefined;
  let begun = false;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (!begun) {
        begun = true;
        return controller.enqueue(encoder.encode(REQUESTS_HEAD));
      }
      // Until there is something to hand on: a page that finds nothing need not be the last.
      for (;;) {
        const page = await requestPage(db, filter, { before, take: ROWS_AT_ONCE });
        if (page.items.length > 0) controller.enqueue(encoder.encode(page.items.map(requestRow).join("")));
        if (page.next === null) return controller.close();
        before = page.next;
        if (page.items.length > 0) return;
      }
    },
  });
  return new Response(body, {
    headers: {
      "content-type": "text/csv; charset=utf-8",
      "content-disposition": `attachment; filename="quota-requests-${new Date().toISOString().slice(0, 10)}.csv"`,
      "cache-control": "private, no-store",
    },
  });
}
