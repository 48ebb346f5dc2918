import { newsAbout } from "../../../lib/news.ts";
import { getSession } from "../../../lib/session.ts";

/** The events about the signed-in user that Quota sent. */
export async function GET(): Promise<Response> {
  const session = await getSession();
  if (session === null) return Response.json({ error: "sign in first" }, { status: 401 });
  return Response.json({ events: newsAbout(session.userId).slice(0, 20) });
}
