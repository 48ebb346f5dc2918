/**
 * Characters that nobody sees: they turn the direction of what stands around them, or
 * make two texts look alike that are not. Unicode calls them format characters (Cf) and
 * ignorable code points; U+2800 and U+3164 are letters that look like a space. Whole
 * emoji are seen, with the joiners and selectors that belong to them.
 */
const UNSEEN = /[\p{Cf}\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800]/v;
const EMOJI = /\p{RGI_Emoji}/gv;
/** Between letters they are part of how Persian, Hindi and other languages are written. */
const JOINERS = /(?<=\p{L}\p{M}*)[\u200c\u200d](?=\p{L})/gu;

/** Whether two of such ids could look alike, or one of them turn what stands beside it. */
export function hasUnseen(text: string): boolean {
  return UNSEEN.test(text.replace(EMOJI, ""));
}

/** The same for words that people read and nobody compares, which joiners between letters belong to. */
export function hasUnseenInWords(text: string): boolean {
  return hasUnseen(text.replace(JOINERS, ""));
}
