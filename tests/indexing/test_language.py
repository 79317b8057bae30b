import pytest

from indexing.language import SAMPLE, language_of


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Open the settings and choose a new password.", "en"),
        ("Reset password", "en"),
        ("A man plays a flute.", "en"),
        ("打开设置页面，选择一个新的密码。", "zh"),
        ("使用 FAISS 和 Milvus 建立 index，再用 encoder 编码。", "zh"),
        ("The word 重置 means reset in this sentence.", "en"),
        ("パスワードを再設定してください。", "ja"),
        ("비밀번호를 재설정하십시오", "ko"),
        ("Das ist nicht der richtige Weg für die Daten.", "de"),
        ("Le mot de passe est dans les paramètres.", "fr"),
        ("Пароль", None),
        ("", None),
        ("123 !? ✓", None),
        ("123 !? _", None),
        ("Übergrößenträger", None),
        ("the " * SAMPLE + "中" * 10 * SAMPLE, "en"),
    ],
)
def test_the_language_that_most_of_a_text_is_in(text, want):
    assert language_of(text) == want
