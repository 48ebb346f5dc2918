import { expect, test } from "vitest";
import { onBothDatabases } from "../../testing/database.ts";
import { makeApp, makeLink, makeUser } from "../../testing/makers.ts";
import { transaction } from "../platform/db.ts";
import { mayLinkAs, unlink } from "./linked-users.ts";

onBothDatabases("a new external user id", (db) => {
  const may = (appId: string, id: string) => transaction((tx) => mayLinkAs(tx, appId, id), db());

  test.each([
    ["turns the writing direction", "\u202a \u202b \u202c \u202d \u202e \u2066 \u2067 \u2068 \u2069 \u200e \u200f \u061c"],
    ["is invisible", "\u00ad \u034f \u115f \u180e \u200b \u200c \u200d \u2060 \u2061 \u2064 \u206a \u2800 \u3164 \ufe0f \ufeff \u{e0061}"],
  ])("is refused when a character of it %s", async (_, characters) => {
    const app = await makeApp(db());
    for (const character of characters.split(" ")) {
      for (const id of [`ann${character}`, `an${character}n`, `${character}ann`])
        expect([JSON.stringify(id), character.codePointAt(0)?.toString(16), await may(app.id, id)]).toEqual([
          JSON.stringify(id),
          character.codePointAt(0)?.toString(16),
          false,
        ]);
    }
  });

  test("may have characters of every script, and emoji with their joiners and selectors", async () => {
    const app = await makeApp(db());
    for (const id of ["user_123", "a@b.example", "Élodie", "日本 太郎", "אבג", "مريم", "क्षेत्र", "👩‍👩‍👧", "❤️‍🔥", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👍🏽"])
      expect([id, await may(app.id, id)]).toEqual([id, true]);
  });

  test("follows these rules only when the app has not used it before, also when that link has ended", async () => {
    const [app, other] = [await makeApp(db()), await makeApp(db())];
    const id = "an\u200dn";
    await makeLink(db(), app.id, await makeUser(db()), { externalUserId: id });
    expect([await may(app.id, id), await may(other.id, id)]).toEqual([true, false]);
    await transaction((tx) => unlink(tx, app.id, id, "user"), db());
    expect([await may(app.id, id), await may(other.id, id), await may(app.id, "a\u200dnn")]).toEqual([true, false, false]);
  });
});
