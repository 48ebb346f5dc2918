/**
 * Invisible characters: they reverse the direction of the text around them, or make two different
 * texts look alike. Unicode calls them format characters (Cf) and ignorable code points; U+2800
 * and U+3164 are letters that look like a space. The joiners and selectors of whole emoji are allowed.
 */
const UNSEEN = /[\p{Cf}\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800]/v;
const EMOJI = /\p{RGI_Emoji}/gv;
/** Joiners between letters are part of how Persian, Hindi and other languages are written. */
const JOINERS = /(?<=\p{L}\p{M}*)[\u200c\u200d](?=\p{L})/gu;

/** Whether a text has invisible characters; for ids, of which two must not look alike. */
export function hasUnseen(text: string): boolean {
  return UNSEEN.test(text.replace(EMOJI, ""));
}

/** Whether a text has invisible characters other than joiners between letters; for text that is read and never compared. */
export function hasUnseenInWords(text: string): boolean {
  return hasUnseen(text.replace(JOINERS, ""));
}
