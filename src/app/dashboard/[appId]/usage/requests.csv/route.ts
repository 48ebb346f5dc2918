import { TRPCError } from "@trpc/server";
import type { NextRequest } from "next/server";
import { csvDownload } from "#server/http/csv-download.ts";
import { currentUser } from "#server/people/auth.ts";
import { database } from "#server/platform/db.ts";
import { caller } from "#server/trpc/caller.ts";
import { requestPage } from "#server/trpc/routers/usage.ts";
import { periodUntil } from "#server/usage/period.ts";
import { REQUESTS_HEAD, requestRow } from "#server/usage/requests-csv.ts";
import { filtersOf, logOf } from "../filters.ts";

const ROWS_AT_ONCE = 500;

/** All requests that the log would show for the same address, as CSV, newest first. */
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
  return csvDownload("quota-requests", REQUESTS_HEAD, async (before) => {
    const page = await requestPage(db, filter, { before, take: ROWS_AT_ONCE });
    return { rows: page.items.map(requestRow), next: page.next };
  });
}
