"""What WhatsApp itself writes into an exported chat, in the languages its users have."""

from __future__ import annotations


def _words(listed: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in listed.split("|"))


MEDIA = frozenset(
    word.casefold()
    for word in _words(
        """
        Media omitted | Medien ausgeschlossen | Medien weggelassen | Médias omis | Fichier multimédia omis | Multimedia omitido |
        Archivo omitido | Media omessi | File multimediale omesso | Mídia oculta | Arquivo de mídia oculto | Ficheiro não revelado |
        Media weggelaten | pominięto multimedia | Plik pominięty | Без медиафайлов | Файл пропущен | Медіа пропущено |
        Medya dahil edilmedi | Media jätettiin pois | Mediat jätetty pois | Media har utelämnats | Media utelämnat | Medier utelatt |
        Mediefil udeladt | Udeladt medie | Hiányzó médiafájl | Média kihagyva | Média vynechány | Médiá vynechané |
        Medijski zapis izostavljen | Izostavljen medij | Conținut media omis | Media omise | Τα πολυμέσα παραλείφθηκαν |
        Медията е пропусната | 省略多媒体文件 | 媒体文件已省略 | 已省略多媒體檔案 | 已略過多媒體檔案 | 略過多媒體檔 |
        メディアは含まれていません | メディアなし | 미디어 파일을 제외함 | 미디어 파일 제외됨 | 사진 생략 | Media tidak disertakan |
        Media dikecualikan | Tệp media bị bỏ qua | ละเว้นสื่อ | تم استبعاد الوسائط | الوسائط غير مدرجة | המדיה לא נכללה |
        मीडिया शामिल नहीं है | image omitted | video omitted | audio omitted | sticker omitted | GIF omitted | document omitted |
        Contact card omitted | Bild weggelassen | Video weggelassen | Audio weggelassen | Sticker weggelassen | Dokument weggelassen |
        Kontaktkarte ausgelassen | image absente | vidéo absente | audio omis | sticker omis | imagen omitida | video omitido |
        audio omitido | sticker omitido | documento omitido | immagine omessa | video omesso | audio omesso | sticker non incluso |
        imagem ocultada | vídeo omitido | áudio ocultado | figurinha omitida | afbeelding weggelaten | video weggelaten |
        audio weggelaten | sticker weggelaten | obraz pominięty | изображение отсутствует | видео отсутствует | аудиофайл отсутствует |
        стикер отсутствует | görüntü dahil edilmedi | kuva jätetty pois | video jätetty pois | ääni jätetty pois | bild utelämnad |
        图片已忽略 | 视频已忽略 | 音频已忽略 | 贴图已忽略 | 圖片已略過 | 画像が省略されました | 動画が省略されました | 이미지 생략 |
        동영상 생략 | null | Voice message omitted | View once message omitted | Video note omitted
        """
    )
)
"""The whole text of a message, without the angle brackets around it."""

ATTACHED = _words(
    """
    file attached | Datei angehängt | fichier joint | archivo adjunto | file allegato | arquivo anexado | ficheiro anexado |
    bestand bijgevoegd | plik dołączony | załączono plik | файл добавлен | файл додано | dosya ekli | tiedosto liitetty |
    bifogad fil | fil vedhæftet | fil vedlagt | fájl csatolva | csatolt fájl | soubor připojen | přiložený soubor |
    priloženi fajl | datoteka u privitku | fișier atașat | συνημμένο αρχείο | 文件附件 | 附加檔案 | 已附加檔案 | ファイル添付 |
    ファイルが添付されました | 파일 첨부됨 | file terlampir | tệp đính kèm | แนบไฟล์ | الملف مرفق | קובץ מצורף | फ़ाइल संलग्न
    """
)
"""Stand in round brackets after a file name."""

DELETED = frozenset(
    word.casefold()
    for word in _words(
        """
        This message was deleted | You deleted this message | This message was deleted by admin | Diese Nachricht wurde gelöscht |
        Du hast diese Nachricht gelöscht | Ce message a été supprimé | Vous avez supprimé ce message | Ce message a été effacé |
        Se eliminó este mensaje | Este mensaje fue eliminado | Eliminaste este mensaje | Questo messaggio è stato eliminato |
        Hai eliminato questo messaggio | Mensagem apagada | Essa mensagem foi apagada | Esta mensagem foi apagada |
        Você apagou esta mensagem | Apagou esta mensagem | Dit bericht is verwijderd | Dit bericht werd verwijderd |
        U hebt dit bericht verwijderd | Ta wiadomość została usunięta | Usunięto tę wiadomość | Данное сообщение удалено |
        Сообщение удалено | Вы удалили данное сообщение | Це повідомлення було видалено | Ви видалили це повідомлення |
        Bu mesaj silindi | Bu mesajı sildiniz | Tämä viesti poistettiin | Tämä viesti on poistettu | Poistit tämän viestin |
        Meddelandet togs bort | Detta meddelande togs bort | Du tog bort detta meddelande | Denne besked blev slettet |
        Denne meldingen ble slettet | Ezt az üzenetet törölték | Ön törölte ezt az üzenetet | Törölted ezt az üzenetet |
        Tato zpráva byla odstraněna | Tato zpráva byla smazána | Táto správa bola odstránená | Ova poruka je izbrisana |
        Poruka je izbrisana | Izbrisali ste ovu poruku | Acest mesaj a fost șters | Αυτό το μήνυμα διαγράφηκε | 此消息已删除 |
        此消息已被删除 | 你删除了这条消息 | 您删除了这条消息 | 此訊息已刪除 | 這則訊息已遭刪除 | 您刪除了此訊息 |
        このメッセージは削除されました | このメッセージを削除しました | 삭제된 메시지입니다 | 이 메시지를 삭제했습니다 |
        Pesan ini telah dihapus | Pesan ini dihapus | Anda menghapus pesan ini | Tin nhắn này đã bị xóa | ข้อความนี้ถูกลบแล้ว |
        تم حذف هذه الرسالة | لقد حذفت هذه الرسالة | ההודעה נמחקה | यह मैसेज डिलीट किया गया
        """
    )
)

EDITED = frozenset(
    word.casefold()
    for word in _words(
        """
        This message was edited | Diese Nachricht wurde bearbeitet | Ce message a été modifié | Se editó este mensaje |
        Este mensaje fue editado | Questo messaggio è stato modificato | Mensagem editada | Esta mensagem foi editada |
        Dit bericht is bewerkt | Ten komunikat został edytowany | Wiadomość edytowana | Сообщение изменено |
        Данное сообщение изменено | Це повідомлення відредаговано | Bu mesaj düzenlendi | Tätä viestiä muokattiin | Viestiä muokattu |
        Meddelandet redigerades | Beskeden blev redigeret | Ezt az üzenetet szerkesztették | Az üzenet szerkesztve |
        Zpráva byla upravena | Tato zpráva byla upravena | Poruka je uređena | Ova poruka je uređena | Mesaj editat | 此消息已编辑 |
        消息已编辑 | 此訊息已編輯 | このメッセージは編集されました | 편집된 메시지입니다 | 수정된 메시지입니다 | Pesan ini diedit |
        Tin nhắn này đã được chỉnh sửa | تم تعديل هذه الرسالة | ההודעה נערכה
        """
    )
)

MORNING = _words(
    """
    am | a.m. | a. m. | 上午 | 凌晨 | 早上 | 清晨 | 오전 | 午前 | ص | ق.ظ | ÖÖ | SA | π.μ. | fm | पूर्वाह्न | de.
    """
)

AFTERNOON = _words(
    """
    pm | p.m. | p. m. | 下午 | 中午 | 晚上 | 傍晚 | 오후 | 午後 | م | ب.ظ | ÖS | CH | μ.μ. | em | अपराह्न | du.
    """
)
