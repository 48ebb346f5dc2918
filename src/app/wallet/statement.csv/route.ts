import type { NextRequest } from "next/server";
import { csvDownload } from "#server/http/csv-download.ts";
import { currentUser } from "#server/people/auth.ts";
import { prisma } from "#server/platform/db.ts";
import { isUuid } from "#server/platform/ids.ts";
import { CSV_HEAD, csvRow } from "#server/usage/csv.ts";
import { statement } from "#server/usage/statement.ts";

const ROWS_AT_ONCE = 500;

/** The signed-in user's whole statement as CSV, newest first; with `app` only that app's requests. */
export async function GET(request: NextRequest): Promise<Response> {
  const user = await currentUser();
  if (user === null) return new Response("Sign in to download your statement.\n", { status: 401 });
  const app = request.nextUrl.searchParams.get("app");
  if (app !== null && !isUuid(app)) return new Response("There is no such app.\n", { status: 404 });
  const db = await prisma();
  return csvDownload("quota-statement", CSV_HEAD, async (before) => {
    const page = await statement(db, { walletId: user.walletId, appId: app ?? undefined, before, take: ROWS_AT_ONCE });
    return { rows: page.items.map(csvRow), next: page.next };
  });
}
