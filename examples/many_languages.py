"""Make a folder of fifteen files in thirteen formats and five languages, to go the whole way with.

    python examples/many_languages.py valley
    ragr1-lite index build valley --out indexes/valley
    ragr1-lite index search indexes/valley "青石茶馆的老板是谁" -k 1

Every file holds a fact of a made-up valley that no other one holds; :data:`QUESTIONS` asks for each in its language.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from many_formats import docx, epub, message, ods, odt, pdf, pptx, write, xlsx

FILES: dict[str, str | bytes] = {
    "english/lamp.md": "# The lamp\n\n## Keeper\n\nThe lamp of the Corvel tower is wound by Edda Marsh.\n",
    "english/boats.xlsx": xlsx("Boats", ("Boat", "Skipper", "Berth"), ("Petrel", "Joss Amadi", "C4")),
    "english/guide.pdf": pdf("Guide to the valley.", "The weir at Sallow Mill was rebuilt in 1908."),
    "deutsch/schleuse.docx": docx(
        "Die Schleuse",
        ("Heading1", "Geschichte"),
        ("", "Die Schleuse von Brunnwik wurde von Hedda Lörenz entworfen."),
    ),
    "deutsch/protokoll.odt": odt("Protokoll", "Der Gemeinderat wählte für die Brücke die Farbe Ocker."),
    "deutsch/brief.rtf": r"{\rtf1\ansi\ansicpg1252 Das K\'fcrbisfest beginnt am ersten Samstag im Oktober.\par}",
    "中文/茶馆.txt": "青石茶馆的老板是林小梅，茶馆每天早上七点开门。\n",
    "中文/山谷.epub": epub("山谷志", ("起源", "村子由两个盐商建立。"), ("洪水", "大洪水发生在一六三四年。")),
    "中文/通知.eml": message("通知", "新来的图书管理员叫赵明远。"),
    "عربي/مكتبة.html": "<title>مكتبة</title><h1>المدير</h1><p>مدير مكتبة النورس هو سامي الحداد.</p>",
    "عربي/عرض.pptx": pptx("عرض", ("الدخل", "بلغت رسوم السوق تسعمئة دينار."), ("الطلاء", "كلف طلاء الجسر مئتي دينار.")),
    "عربي/سجل.jsonl": json.dumps({"id": "سجل-1", "title": "البرج", "text": "بنى البرج القديم المهندس كريم الزين."})
    + "\n",
    "ไทย/โรงสี.txt": "โรงสีริมน้ำดูแลโดยคุณสมชาย ใจดี ตั้งแต่ปีที่แล้ว\n",
    "ไทย/คลัง.ods": ods("คลัง", ("สิ่งของ", "จำนวน"), ("สมอเรือ", "สิบสองตัว")),
    "ไทย/แมว.md": "# แมว\n\n## ท่าเรือ\n\nแมวประจำท่าเรือชื่อมะลิ\n",
}
QUESTIONS = {
    "Who winds the lamp of the Corvel tower?": ("english/lamp.md", "Edda Marsh"),
    "Which skipper has the boat Petrel?": ("english/boats.xlsx", "Joss Amadi"),
    "When was the weir at Sallow Mill rebuilt?": ("english/guide.pdf", "1908"),
    "Wer hat die Schleuse von Brunnwik entworfen?": ("deutsch/schleuse.docx", "Hedda Lörenz"),
    "Welche Farbe hat die Brucke?": ("deutsch/protokoll.odt", "Ocker"),
    "Wann beginnt das Kürbisfest?": ("deutsch/brief.rtf", "ersten Samstag im Oktober"),
    "青石茶馆的老板是谁？": ("中文/茶馆.txt", "林小梅"),
    "大洪水发生在哪一年？": ("中文/山谷.epub", "一六三四年"),
    "图书管理员叫什么名字？": ("中文/通知.eml", "赵明远"),
    "من هو مدير مكتبة النورس؟": ("عربي/مكتبة.html", "سامي الحداد"),
    "كم كلف طلاء الجسر؟": ("عربي/عرض.pptx", "مئتي دينار"),
    "من بنى البرج القديم؟": ("عربي/سجل.jsonl", "كريم الزين"),
    "ใครดูแลโรงสีริมน้ำ": ("ไทย/โรงสี.txt", "สมชาย"),
    "มีสมอเรือกี่ตัว": ("ไทย/คลัง.ods", "สิบสองตัว"),
    "แมวประจำท่าเรือชื่ออะไร": ("ไทย/แมว.md", "มะลิ"),
}
"""With the file that answers each, and what it says."""

if __name__ == "__main__":
    write(FILES, Path(sys.argv[1] if len(sys.argv) > 1 else "valley"))
