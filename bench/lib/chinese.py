"""Chinese characters that occur often, for practice captchas, and a free font that has them."""

CHINESE_FONT = "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"  # Debian: fonts-wqy-microhei
COMMON_CHINESE = (  # the most frequent first
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以"
    "会家可下而过天去能对小多然于心学么之都好看起发当没成只如事把还用第样道想作种开美"
    "总从无情己面最女但现前些所同日手又行意动方期它头经长儿回位分爱老因很给名法间斯知"
    "世什两次使身者被高已亲其进此话常与活正感见明问力理尔点文几定本公特做外孩相西果走"
    "将月十实向声车全信重三机工物气每并别真打太新比才便夫再书部水像眼等体却加电主界门"
    "利海受听表德少克代员许先口由死安写性马光白或住难望教命花结乐色更拉东神记处让母父"
    "应直字场平报友关放至张认接告入笑内英军候民岁往何度山觉路带万男边风解叫任金快原吃"
    "妈变通师立象数四失满战远格士音轻目条呢病始达深完今提求清王化空业思切怎非找片罗钱"
    "南语元喜曾离飞科言干流欢约各即指合反题必该论交终林请医晚制球决传画保读运及则房早"
    "院量苦火布品近坐产答星精视五连司巴奇管类未朋且婚台夜青北队久乎越观落尽形影红爸百"
    "令周吧识步希亚术留市半热送兴造谈容极随演收首根讲整式取照办强石古华备据双选护究消"
    "级历确酒急须团树底细支际改众油领广农阿持图李木标六推江密校奋块阳冷宝息城永温刻错"
    "旧居笔右怀左哥试楼短跑静纪段谁丽春夏秋冬"
)
# The most frequent 3,755 of the standard GB 2312: its rows 16 to 55, 94 in each but the last.
LEVEL_1 = bytes(
    byte
    for row in range(16, 56)
    for cell in range(1, 90 if row == 55 else 95)
    for byte in (0xA0 + row, 0xA0 + cell)
).decode("gb2312")
